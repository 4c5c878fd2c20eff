"""Loading a frozen text-to-image model of any family; every number about it comes from its own config."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, DiffusionPipeline, SchedulerMixin
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from tasks.diffusion.adapters import Adapters
from tasks.diffusion.changes import layers_of
from tasks.diffusion.devices import fast_bfloat16, pick_device
from tasks.diffusion.families import family_of
from tasks.diffusion.families.parts import Condition, Family, Look, TextEncoder, loaded_encoder
from tasks.diffusion.group_norm import use_channels_last_norms
from tasks.diffusion.loading import loaded_once
from tasks.diffusion.memory import Weights, large_parts, pick_weights, quantise, weight_files
from tasks.diffusion.noise import NoiseProcess, noise_process, scheduler_for
from tasks.diffusion.per_layer import cross_attentions, read_own_parts
from tasks.diffusion.places import local_prediction
from tasks.diffusion.resolution import latent_side, pixels_per_latent
from tasks.shipped import folder_of


@dataclass(frozen=True)
class BaseModel:
    """The frozen parts of a latent diffusion model and the identity of its weights."""

    family: Family
    text_encoders: tuple[TextEncoder, ...]
    vae: AutoencoderKL
    denoiser: Any
    """A UNet or a transformer of diffusers."""
    latent_side: int
    """Height and width of a picture's latents."""
    noise_scheduler: SchedulerMixin
    identity: dict[str, Any]
    """model, revision and, where it is set, resolution as in params.yaml, and weights_sha256."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """The pipeline's config, which a family may read."""
    weights: Weights = "full"
    """How many bits the large parts' frozen weights have."""
    adapters: Adapters = field(default_factory=Adapters)
    """The changes that words bring to the denoiser."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The first tokenizer, which says what a word is."""
        return self.text_encoders[0].tokenizer

    @property
    def device(self) -> torch.device:
        return next(self.denoiser.parameters()).device  # `ModelMixin.device` walks over all modules, for a millisecond

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one picture's latents."""
        return self.vae.config.latent_channels, self.latent_side, self.latent_side

    @property
    def architecture(self) -> str:
        """The model's name in ModelSpec."""
        return self.family.architecture(self)

    @property
    def noise(self) -> NoiseProcess:
        """How noise is added to latents and removed from them."""
        return noise_process(self.noise_scheduler, (self.latent_side // self.family.patch) ** 2, self.family.sigmas)

    @property
    def resolution(self) -> int:
        """Side of a picture in px."""
        return self.latent_side * pixels_per_latent(self.vae.config)

    @property
    def widths(self) -> list[int]:
        """The embedding dimension of each text encoder; a learned row is one embedding of each, end to end."""
        return [encoder.table.embedding_dim for encoder in self.text_encoders]

    @property
    def parts(self) -> dict[str, int]:
        """The key of each text encoder in the file of a word -> its embedding dimension."""
        return {encoder.part.key: encoder.table.embedding_dim for encoder in self.text_encoders}

    @property
    def first_ids(self) -> Tensor:
        """The first id of a new word for each text encoder: (text encoders, 1)."""
        return torch.tensor([[len(encoder.tokenizer)] for encoder in self.text_encoders], device=self.device)

    @property
    def vocabulary(self) -> Tensor:
        """The frozen embedding tables of the text encoders that have the first one's words, side by side: (words, dim)."""
        first = self.text_encoders[0].table.weight
        weights = [encoder.table.weight for encoder in self.text_encoders if len(encoder.tokenizer) == len(self.tokenizer)]
        return torch.cat(weights, dim=1) if len(weights) > 1 else first

    @property
    def look(self) -> Look:
        """How its pictures are sampled where the settings do not say."""
        return self.family.look(self.denoiser.config)

    @property
    def guidance_is_distilled(self) -> bool:
        """Whether the guidance scale is an input of the denoiser."""
        return self.family.distilled(self.denoiser.config)

    def layers(self, targets: str) -> dict[str, nn.Linear | nn.Conv2d]:
        """Return a set of the denoiser's layers, such as `attention`, by name; none where the family has no such set."""
        return layers_of(self.denoiser, targets, self.family.layers)

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


def float_types(family: Family, device: torch.device) -> dict[str, torch.dtype]:
    """Return the parts of a pipeline that a device computes in bfloat16: the denoiser, and text encoders of billions of weights.

    On a CPU all are in float32, in which the results are the same on every processor.
    """
    if device.type == "cpu" or not fast_bfloat16(device):
        return {}
    return dict.fromkeys(large_parts(family), torch.bfloat16)


def weights_sha256(folder: Path) -> str:
    """Return one SHA-256 over the contents of `weight_files`."""
    digest = hashlib.sha256()
    for path in weight_files(folder):
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def base_family(model: str, revision: str | None) -> Family:
    """Return the family of a base model, read from its configs alone."""
    folder = folder_of(model)
    return family_of(DiffusionPipeline.load_config(folder or model, revision=None if folder else revision), model)


def base_resolution(model: str, revision: str | None, resolution: int | None = None) -> int:
    """Return the side of the base model's pictures in px, read from its configs alone.

    Raises:
        ValueError: `resolution` is none of this model, or it is None and the configs name none.
    """
    family, place, hub_revision = base_family(model, revision), folder_of(model) or model, None if folder_of(model) else revision
    denoiser, vae = (AutoencoderKL.load_config(place, subfolder=part, revision=hub_revision) for part in (family.denoiser, family.vae))
    return latent_side(family, denoiser, vae, resolution) * pixels_per_latent(vae)


def model_folder(model: str, revision: str | None) -> Path:
    """Return where a base model lies: the folder that it is, or the hub's copy, which is downloaded unless it is there."""
    return folder_of(model) or Path(DiffusionPipeline.download(model, revision=revision, use_safetensors=True))


@loaded_once
def load_base_model(
    model: str, revision: str | None, device: str, resolution: int | None = None, memory: Literal["auto"] | Weights = "full"
) -> BaseModel:
    """Load a diffusers folder, or a hub id at a revision, frozen and in evaluation mode.

    resolution: the side of its pictures in px; by default the one that it was trained on. memory: as `runtime.memory`.

    A process loads a base model once, however many concepts it works on.

    Raises:
        ValueError: a folder has no safetensors or other weights than `revision` names, the model predicts epsilon at zero terminal SNR, or its
            weights cannot have as few bits as `memory` says.
        OSError: there is no such folder and no such hub model.
    """
    folder = model_folder(model, revision)
    family = family_of(DiffusionPipeline.load_config(folder), model)
    if not weight_files(folder):
        raise ValueError(
            f"{model} has no weights in safetensors; write it once with DiffusionPipeline.from_pretrained({model!r}).save_pretrained(FOLDER)"
        )
    digest = weights_sha256(folder)
    if folder_of(model) and revision and not digest.startswith(revision):
        raise ValueError(f"base.revision is {revision}, but the weights in {model} are {digest[:12]}; restore the folder or change params.yaml")
    diffusers.utils.logging.disable_progress_bar()  # loading takes a moment; a build draws its own bar
    transformers.utils.logging.disable_progress_bar()
    device = pick_device(device)
    kinds = float_types(family, torch.device(device))
    weights = pick_weights(memory, family, folder, torch.device(device), model, full=2.0 if kinds else 4.0)
    pipeline = family.load(folder, kinds)
    vae, denoiser = getattr(pipeline, family.vae), getattr(pipeline, family.denoiser)
    present = [part for part in family.text_encoders if getattr(pipeline, part.model) is not None]
    encoders = tuple(loaded_encoder(pipeline, part, denoiser.config) for part in present)
    for large in filter(None, (getattr(pipeline, part) for part in large_parts(family))):
        quantise(large, weights)
    for part in (*(encoder.model for encoder in encoders), vae, denoiser):
        part.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
        if device == "cpu":
            use_channels_last_norms(part)
    family.repair(encoders)
    if cross_attentions(denoiser):
        read_own_parts(denoiser, denoiser.config.cross_attention_dim)
    return BaseModel(
        family=family,
        text_encoders=encoders,
        vae=vae,
        denoiser=denoiser,
        latent_side=latent_side(family, denoiser.config, vae.config, resolution),
        noise_scheduler=scheduler_for(pipeline.scheduler, model),
        identity={"model": model, "revision": revision, "weights_sha256": digest} | ({"resolution": resolution} if resolution else {}),
        config=dict(pipeline.config),
        weights=weights,
    )
