"""Loading a frozen text-to-image model of any family; every number about it comes from its own config."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, DiffusionPipeline, SchedulerMixin, UNet2DConditionModel
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from tasks.diffusion.adapters import Adapters
from tasks.diffusion.families import family_of
from tasks.diffusion.families.parts import Condition, Family, TextEncoder
from tasks.diffusion.group_norm import use_channels_last_norms
from tasks.diffusion.noise import NoiseProcess, noise_process, scheduler_for
from tasks.diffusion.per_layer import read_own_parts
from tasks.diffusion.places import local_prediction
from tasks.shipped import folder_of


@dataclass(frozen=True)
class BaseModel:
    """The frozen parts of a latent diffusion model and the identity of its weights."""

    family: Family
    text_encoders: tuple[TextEncoder, ...]
    vae: AutoencoderKL
    unet: UNet2DConditionModel
    noise_scheduler: SchedulerMixin
    identity: dict[str, str | None]
    """model and revision as in params.yaml, and weights_sha256."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """The pipeline's config, which a family may read."""
    adapters: Adapters = field(default_factory=Adapters)
    """The changes that words bring to the denoiser."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The first tokenizer; a second one has the same words and ids."""
        return self.text_encoders[0].tokenizer

    @property
    def device(self) -> torch.device:
        return self.unet.conv_in.weight.device  # `ModelMixin.device` walks over all modules, for a millisecond

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one picture's latents."""
        return self.unet.config.in_channels, self.unet.config.sample_size, self.unet.config.sample_size

    @property
    def architecture(self) -> str:
        """The model's name in ModelSpec."""
        return self.family.architecture(self)

    @property
    def noise(self) -> NoiseProcess:
        """How noise is added to latents and removed from them."""
        return noise_process(self.noise_scheduler)

    @property
    def resolution(self) -> int:
        """Side of a picture in px."""
        return self.unet.config.sample_size * 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def widths(self) -> list[int]:
        """The embedding dimension of each text encoder; a learned row is one embedding of each, end to end."""
        return [encoder.table.embedding_dim for encoder in self.text_encoders]

    @property
    def vocabulary(self) -> Tensor:
        """The frozen embedding tables side by side: (words, dim)."""
        weights = [encoder.table.weight for encoder in self.text_encoders]
        return torch.cat(weights, dim=1) if len(weights) > 1 else weights[0]

    def denoise(self, latents: Tensor, timesteps: Tensor | float, condition: Condition) -> Tensor:
        """Return the denoiser's prediction for noisy latents (batch, channels, height, width), in float32.

        An adapter acts where its word is, or on whole pictures where the condition does not say which tokens are its word's, as in training.
        """
        if condition.strengths is not None and condition.strengths.shape[2] > 1:
            return local_prediction(self.adapters.watching, self.predict, latents, timesteps, condition)
        return self.predict(latents, timesteps, condition)

    def predict(self, latents: Tensor, timesteps: Tensor | float, condition: Condition) -> Tensor:
        """Return the prediction with each adapter acting on the whole picture of its rows."""
        with self.adapters.acting(condition.strengths):
            return self.family.denoise(self, latents, timesteps, condition)


def pick_device(device: str) -> str:
    """Resolve `auto` to cuda where there is one, else cpu; on a GPU, every float32 matrix product uses TF32 from here on.

    Raises:
        ValueError: the machine has no such device.
    """
    gpus = torch.cuda.device_count()
    devices = ["cpu", *(["cuda"] if gpus else []), *(f"cuda:{index}" for index in range(gpus))]
    resolved = ("cuda" if gpus else "cpu") if device == "auto" else device
    if resolved not in devices:
        raise ValueError(f"runtime.device is {device}, but this machine has {', '.join(devices)}; take one of these or auto")
    if resolved != "cpu":
        torch.set_float32_matmul_precision("high")
    return resolved


def fast_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies in bfloat16 without emulating it."""
    if device.type == "cpu":
        return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
    with torch.cuda.device(device):
        return torch.cuda.is_bf16_supported(including_emulation=False)


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
    folder = folder_of(model)
    model, hub_revision = (str(folder), None) if folder else (model, revision)
    family = family_of(DiffusionPipeline.load_config(model, revision=hub_revision), model)
    unet = UNet2DConditionModel.load_config(model, subfolder="unet", revision=hub_revision)
    vae = AutoencoderKL.load_config(model, subfolder=family.vae, revision=hub_revision)
    return unet["sample_size"] * 2 ** (len(vae["block_out_channels"]) - 1)


def model_folder(model: str, revision: str | None) -> Path:
    """Return where a base model lies: the folder that it is, or the hub's copy, which is downloaded unless it is there."""
    return folder_of(model) or Path(DiffusionPipeline.download(model, revision=revision, use_safetensors=True))


@lru_cache(maxsize=1)
def load_base_model(model: str, revision: str | None, device: str) -> BaseModel:
    """Load a diffusers folder, or a hub id at a revision, frozen and in evaluation mode.

    A process loads a base model once, however many concepts it works on.

    Raises:
        ValueError: a folder has no safetensors or other weights than `revision` names, or the model predicts epsilon at zero terminal SNR.
        OSError: there is no such folder and no such hub model.
    """
    folder = model_folder(model, revision)
    family = family_of(DiffusionPipeline.load_config(folder), model)
    if not any(folder.rglob("*.safetensors")):
        raise ValueError(
            f"{model} has no weights in safetensors; write it once with DiffusionPipeline.from_pretrained({model!r}).save_pretrained(FOLDER)"
        )
    weights = weights_sha256(folder)
    if folder_of(model) and revision and not weights.startswith(revision):
        raise ValueError(f"base.revision is {revision}, but the weights in {model} are {weights[:12]}; restore the folder or change params.yaml")
    diffusers.utils.logging.disable_progress_bar()  # loading takes a moment; a build draws its own bar
    transformers.utils.logging.disable_progress_bar()
    pipeline = family.load(folder)
    device, vae = pick_device(device), getattr(pipeline, family.vae)
    encoders = tuple(TextEncoder(getattr(pipeline, tokenizer), getattr(pipeline, model)) for tokenizer, model in family.text_encoders)
    for part in (*(encoder.model for encoder in encoders), vae, pipeline.unet):
        part.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
        if device == "cpu":
            use_channels_last_norms(part)
    family.repair(encoders)
    read_own_parts(pipeline.unet, pipeline.unet.config.cross_attention_dim)
    if device != "cpu" and fast_bfloat16(torch.device(device)):
        pipeline.unet.to(torch.bfloat16)
    return BaseModel(
        family=family,
        text_encoders=encoders,
        vae=vae,
        unet=pipeline.unet,
        noise_scheduler=scheduler_for(pipeline.scheduler, model),
        identity={"model": model, "revision": revision, "weights_sha256": weights},
        config=dict(pipeline.config),
    )
