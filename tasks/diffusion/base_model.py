"""Loading a frozen text-to-image model; every number about it comes from its own config."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from tasks.diffusion.group_norm import use_channels_last_norms


@dataclass(frozen=True)
class BaseModel:
    """The frozen parts of a latent diffusion model and the identity of its weights."""

    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    vae: AutoencoderKL
    unet: UNet2DConditionModel
    noise_scheduler: DDIMScheduler
    identity: dict[str, str | None]
    """model and revision as in params.yaml, and weights_sha256."""

    @property
    def device(self) -> torch.device:
        return self.unet.device

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one picture's latents."""
        return self.unet.config.in_channels, self.unet.config.sample_size, self.unet.config.sample_size

    @property
    def vocabulary(self) -> Tensor:
        """The frozen embedding table: (words, dim)."""
        return self.text_encoder.get_input_embeddings().weight


def pick_device(device: str) -> str:
    """Resolve `auto` to cuda where there is one, else cpu."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def weights_sha256(folder: Path) -> str:
    """Return one SHA-256 over all `*.safetensors` below a folder, read in the order of their relative paths."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors"), key=lambda path: path.relative_to(folder).as_posix()):
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def base_resolution(model: str, revision: str | None) -> int:
    """Return the side of the base model's pictures in px, read from its configs alone."""
    hub_revision = None if Path(model).is_dir() else revision
    unet = UNet2DConditionModel.load_config(model, subfolder="unet", revision=hub_revision)
    vae = AutoencoderKL.load_config(model, subfolder="vae", revision=hub_revision)
    return unet["sample_size"] * 2 ** (len(vae["block_out_channels"]) - 1)


@lru_cache(maxsize=1)
def load_base_model(model: str, revision: str | None, device: str) -> BaseModel:
    """Load a diffusers folder, or a hub id at a revision, frozen and in evaluation mode.

    A process loads a base model once, whatever number of concepts it works on.

    Raises:
        ValueError: a folder's weights are not those that `revision` names, or its noise ends at no signal at all.
        OSError: there is no such folder and no such hub model.
    """
    folder = Path(model)
    is_folder = folder.is_dir()
    if not is_folder:
        folder = Path(StableDiffusionPipeline.download(model, revision=revision, use_safetensors=True))
    weights = weights_sha256(folder)
    if is_folder and revision and not weights.startswith(revision):
        raise ValueError(f"base.revision is {revision}, but the weights in {model} are {weights[:12]}; restore the folder or change params.yaml")
    diffusers.utils.logging.disable_progress_bar()  # loading takes a moment; a build draws its own bar
    transformers.utils.logging.disable_progress_bar()
    pipeline = StableDiffusionPipeline.from_pretrained(
        folder,
        safety_checker=None,
        requires_safety_checker=False,
        dtype=torch.float32,
        low_cpu_mem_usage=False,  # which would need accelerate
    )
    place = pick_device(device)
    for part in (pipeline.text_encoder, pipeline.vae, pipeline.unet):
        part.to(place, memory_format=torch.channels_last).eval().requires_grad_(False)
        if place == "cpu":
            use_channels_last_norms(part)
    if pipeline.scheduler.config.get("rescale_betas_zero_snr"):
        raise ValueError(
            f"{model} rescales its betas to zero terminal SNR, where a DDIM step divides by zero; use a model without rescale_betas_zero_snr"
        )
    return BaseModel(
        tokenizer=pipeline.tokenizer,
        text_encoder=pipeline.text_encoder,
        vae=pipeline.vae,
        unet=pipeline.unet,
        noise_scheduler=DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False, thresholding=False),  # latents have no range
        identity={"model": model, "revision": revision, "weights_sha256": weights},
    )
