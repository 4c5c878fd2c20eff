"""Loading a frozen text-to-image model of any family in `FAMILIES`; every number about it comes from its own config."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.diffusion.group_norm import use_channels_last_norms
from tasks.shipped import folder_of


class Family(NamedTuple):
    """Where a pipeline class of diffusers keeps its parts."""

    architecture: str
    """As ModelSpec names it."""
    encoders: tuple[tuple[str, str], ...]
    """(tokenizer, text encoder), in the order in which their outputs are joined."""
    vae: str


FAMILIES = {
    # Stable Diffusion 1.x and 2.x: which of them, and whether it predicts the noise or v, is in the configs.
    "StableDiffusionPipeline": Family("stable-diffusion-v1", (("tokenizer", "text_encoder"),), "vae"),
    "StableDiffusionXLPipeline": Family("stable-diffusion-xl-v1-base", (("tokenizer", "text_encoder"), ("tokenizer_2", "text_encoder_2")), "vae"),
    # The paper's own model.
    "LDMTextToImagePipeline": Family("latent-diffusion", (("tokenizer", "bert"),), "vqvae"),
}


class Condition(NamedTuple):
    """What the denoiser reads of prompts."""

    hidden: Tensor
    """encoder_hidden_states: (prompts, length, dim)."""
    pooled: Tensor | None = None
    """(prompts, dim), of families that have it."""

    def rows(self, index: slice | list[int]) -> "Condition":
        """Return the condition of some of the prompts."""
        return Condition(self.hidden[index], None if self.pooled is None else self.pooled[index])

    def repeat(self, count: int) -> "Condition":
        """Return the condition of one prompt `count` times."""
        return Condition(self.hidden.expand(count, -1, -1), None if self.pooled is None else self.pooled.expand(count, -1))

    def followed_by(self, other: "Condition") -> "Condition":
        """Return these prompts and then the others."""
        pooled = None if self.pooled is None or other.pooled is None else torch.cat([self.pooled, other.pooled])
        return Condition(torch.cat([self.hidden, other.hidden]), pooled)


class TextEncoder(NamedTuple):
    """A frozen text encoder and its tokenizer."""

    tokenizer: PreTrainedTokenizerBase
    model: PreTrainedModel

    @property
    def table_owner(self) -> tuple[nn.Module, str]:
        """The module that holds the embedding table, and the name under which it does."""
        table = self.table
        return next((module, name) for module in self.model.modules() for name, child in module.named_children() if child is table)

    @property
    def table(self) -> nn.Embedding:
        """The frozen embedding table."""
        return self.model.get_input_embeddings()


@dataclass(frozen=True)
class BaseModel:
    """The frozen parts of a latent diffusion model and the identity of its weights."""

    family: Family
    text_encoders: tuple[TextEncoder, ...]
    vae: AutoencoderKL
    unet: UNet2DConditionModel
    noise_scheduler: DDIMScheduler
    identity: dict[str, str | None]
    """model and revision as in params.yaml, and weights_sha256."""
    zeros_for_nothing: bool = False
    """Whether no prompt at all is zeros instead of the empty prompt, as SDXL was trained."""

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
        """As ModelSpec names it; Stable Diffusion 2 has 1's classes, a wider text encoder, and two kinds."""
        if self.family is not FAMILIES["StableDiffusionPipeline"] or self.widths != [1024]:
            return self.family.architecture
        return "stable-diffusion-v2-768-v" if self.noise_scheduler.config.prediction_type == "v_prediction" else "stable-diffusion-v2-512"

    @property
    def resolution(self) -> int:
        """Side of a picture in px."""
        return self.unet.config.sample_size * 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def widths(self) -> list[int]:
        """The dimensions that each text encoder's words have; a learned row is one word of all of them, end to end."""
        return [encoder.table.embedding_dim for encoder in self.text_encoders]

    @property
    def vocabulary(self) -> Tensor:
        """The frozen embedding tables side by side: (words, dim)."""
        weights = [encoder.table.weight for encoder in self.text_encoders]
        return torch.cat(weights, dim=1) if len(weights) > 1 else weights[0]

    def denoise(self, latents: Tensor, timesteps: Tensor | int, condition: Condition) -> Tensor:
        """Return the denoiser's prediction for noisy latents (batch, channels, height, width), in float32."""
        weight, added = self.unet.conv_in.weight, {}
        in_rows = weight.is_contiguous(memory_format=torch.channels_last)
        latents = latents.to(weight.dtype, memory_format=torch.channels_last if in_rows else torch.contiguous_format)
        if condition.pooled is not None:
            side = self.resolution
            sizes = torch.tensor([[side, side, 0, 0, side, side]], dtype=weight.dtype, device=weight.device)  # of the original, its crop, the target
            added = {"text_embeds": condition.pooled.to(weight.dtype), "time_ids": sizes.expand(len(latents), -1)}
        return self.unet(latents, timesteps, condition.hidden.to(weight.dtype), added_cond_kwargs=added).sample.float()


def pick_device(device: str) -> str:
    """Resolve `auto` to cuda where there is one, else cpu; on a GPU, products in float32 use TF32 from here on, whichever model comes first.

    Raises:
        ValueError: there is no such device.
    """
    gpus = torch.cuda.device_count()
    there = ["cpu", *(["cuda"] if gpus else []), *(f"cuda:{index}" for index in range(gpus))]
    place = ("cuda" if gpus else "cpu") if device == "auto" else device
    if place not in there:
        raise ValueError(f"runtime.device is {device}, but this machine has {', '.join(there)}; take one of these or auto")
    if place != "cpu":
        torch.set_float32_matmul_precision("high")
    return place


def fast_bfloat16(device: torch.device) -> bool:
    """Say whether a device multiplies in bfloat16; where it does not, it would be emulated."""
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


def family_of(model_index: dict[str, Any], model: str) -> Family:
    """Return the family of a pipeline's model_index.json.

    Raises:
        ValueError: the pipeline is of no family that words can be learned for.
    """
    name = model_index["_class_name"]
    if name not in FAMILIES:
        raise ValueError(f"{model} is a {name}; base.model in params.yaml takes a {', a '.join(FAMILIES)}")
    return FAMILIES[name]


def model_folder(model: str, revision: str | None) -> Path:
    """Return where a base model lies: the folder that it is, or the hub's copy, which is downloaded unless it is there."""
    return folder_of(model) or Path(DiffusionPipeline.download(model, revision=revision, use_safetensors=True))


@lru_cache(maxsize=1)
def load_base_model(model: str, revision: str | None, device: str) -> BaseModel:
    """Load a diffusers folder, or a hub id at a revision, frozen and in evaluation mode.

    A process loads a base model once, whatever number of concepts it works on.

    Raises:
        ValueError: a folder's weights are not those that `revision` names, or its noise ends at no signal at all.
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
    unused = {"safety_checker": None, "requires_safety_checker": False} if "safety_checker" in DiffusionPipeline.load_config(folder) else {}
    pipeline = DiffusionPipeline.from_pretrained(folder, **unused, dtype=torch.float32, low_cpu_mem_usage=False)  # which would need accelerate
    place, vae = pick_device(device), getattr(pipeline, family.vae)
    encoders = tuple(TextEncoder(getattr(pipeline, tokenizer), getattr(pipeline, model)) for tokenizer, model in family.encoders)
    for part in (*(encoder.model for encoder in encoders), vae, pipeline.unet):
        part.to(place, memory_format=torch.channels_last).eval().requires_grad_(False)
        if place == "cpu":
            use_channels_last_norms(part)
    if len(encoders) > 1:
        # SDXL's config calls the end token 2, and transformers then pools at the greatest id: a new word's, so what follows it would be lost.
        encoders[-1].model.text_model.eos_token_id = encoders[-1].tokenizer.eos_token_id
    if place != "cpu" and fast_bfloat16(torch.device(place)):
        pipeline.unet.to(torch.bfloat16)
    if pipeline.scheduler.config.get("rescale_betas_zero_snr") and pipeline.scheduler.config.prediction_type == "epsilon":
        raise ValueError(f"{model} predicts epsilon at zero terminal SNR, where it tells nothing of the picture; use one that predicts v there")
    return BaseModel(
        family=family,
        text_encoders=encoders,
        vae=vae,
        unet=pipeline.unet,
        noise_scheduler=DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False, thresholding=False),  # latents have no range
        identity={"model": model, "revision": revision, "weights_sha256": weights},
        zeros_for_nothing=bool(pipeline.config.get("force_zeros_for_empty_prompt", False)),
    )
