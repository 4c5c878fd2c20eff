"""The parts of a family: text encoders that words are spliced into, the condition that a denoiser reads, and the family's interface."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers import DiffusionPipeline, UNet2DConditionModel
from diffusers.utils import is_accelerate_available
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.diffusion.changes import TARGETS
from tasks.diffusion.per_layer import equally_wide


class Condition(NamedTuple):
    """The encoded prompts that the denoiser reads."""

    hidden: Tensor
    """encoder_hidden_states: (prompts, length, dim), or (prompts, length, layers * dim) where each cross-attention layer has a text of its own."""
    pooled: Tensor | None = None
    """(prompts, dim), in families that have it."""

    strengths: Tensor | None = None
    """(prompts, adapters, length) on the CPU: how strongly each adapter on the denoiser acts, at the tokens of its word; None for no adapter.
    A length of 1 has no tokens: the adapter acts on the whole picture."""

    lengths: Tensor | None = None
    """(prompts,) on the CPU: how many tokens of `hidden`, from the first, each prompt has; None: all of them."""

    guidance: Tensor | None = None
    """(prompts,): the guidance scale that a denoiser with distilled guidance reads."""

    def rows(self, index: slice | list[int]) -> "Condition":
        """Return the condition of some of the prompts."""
        return Condition(self.hidden[index], *(None if part is None else part[index] for part in self[1:]))

    def repeat(self, count: int) -> "Condition":
        """Return the condition of one prompt `count` times."""
        return Condition(self.hidden.expand(count, -1, -1), *(None if part is None else part.expand(count, *part.shape[1:]) for part in self[1:]))

    def followed_by(self, other: "Condition") -> "Condition":
        """Return these prompts and then the others."""
        hidden = torch.cat(equally_wide([self.hidden, other.hidden]))
        both = {name: (getattr(self, name), getattr(other, name)) for name in ("pooled", "lengths", "guidance")}
        joint = Condition(hidden, **{name: torch.cat(pair) for name, pair in both.items() if pair[0] is not None and pair[1] is not None})
        known = next((part for part in (self.strengths, other.strengths) if part is not None), None)
        if known is None:
            return joint
        strengths = [torch.zeros(len(part.hidden), *known.shape[1:]) if part.strengths is None else part.strengths for part in (self, other)]
        return joint._replace(strengths=torch.cat(strengths))


class TextPart(NamedTuple):
    """A text encoder of a family, and how prompts and words are written for it."""

    tokenizer: str
    """The tokenizer as the pipeline names it."""
    model: str
    """The text encoder as the pipeline names it."""
    key: str
    """The name of its tensor in the file of a word, where a base model has several text encoders; ComfyUI's."""
    length: Callable[[Mapping[str, Any]], int] | None = None
    """config of the denoiser -> tokens of a padded prompt; None: as many as tokenizer and text encoder allow."""
    pieces: bool = False
    """Whether a coarse word may be several tokens, whose mean the new word then starts as."""
    written: Callable[[PreTrainedTokenizerBase, str], str] = lambda tokenizer, prompt: prompt
    """(tokenizer, prompt) -> the text that the tokenizer reads."""


CLIP_L = TextPart("tokenizer", "text_encoder", "clip_l")
CLIP_G = TextPart("tokenizer_2", "text_encoder_2", "clip_g")


class TextEncoder(NamedTuple):
    """A frozen text encoder and its tokenizer."""

    tokenizer: PreTrainedTokenizerBase
    model: PreTrainedModel
    part: TextPart = CLIP_L
    length: int = 77
    """Tokens of a padded prompt."""

    @property
    def table_owners(self) -> list[tuple[nn.Module, str]]:
        """The modules that hold the embedding table, and its name in each; T5 has it twice."""
        weight, pairs = self.table.weight, [(module, name) for module in self.model.modules() for name, _ in module.named_children()]
        return [(module, name) for module, name in pairs if getattr(getattr(module, name), "weight", None) is weight]

    @property
    def table(self) -> nn.Embedding:
        """The frozen embedding table."""
        return self.model.get_input_embeddings()


class SplicedEmbedding(nn.Module):
    """A frozen embedding table continued by learned rows.

    Equal to resizing the table and restoring its old rows after every step, but the optimizer holds only the new rows.
    """

    def __init__(self, frozen: nn.Embedding, first_id: int, learned: Tensor) -> None:
        super().__init__()
        self.frozen, self.first_id, self.learned = frozen, first_id, learned

    def forward(self, input_ids: Tensor) -> Tensor:
        """(batch, length) token ids -> (batch, length, dim)."""
        is_new = input_ids >= self.first_id
        vocabulary = self.frozen(input_ids.masked_fill(is_new, 0))
        # Not by indexing, whose backward adds up on several threads in an order of chance: a word in two threads' share had other bytes each time.
        learned = F.embedding((input_ids - self.first_id).clamp(min=0), self.learned)
        return torch.where(is_new[..., None], learned.to(vocabulary.dtype), vocabulary)


@contextmanager
def spliced(encoder: TextEncoder, learned: Tensor) -> Iterator[None]:
    """Let ids from the end of the vocabulary read `learned` (vectors, dim) while the block runs."""
    owners, frozen = encoder.table_owners, encoder.table
    for owner, name in owners:
        setattr(owner, name, SplicedEmbedding(frozen, len(encoder.tokenizer), learned))
    try:
        yield
    finally:
        for owner, name in owners:
            setattr(owner, name, frozen)


def load_pipeline(folder: Path, kinds: Mapping[str, torch.dtype]) -> DiffusionPipeline:
    """Load a diffusers folder in float32, without the parts that no stage uses. kinds: part of the pipeline -> another float type for it."""
    unused, sparing = left_out(DiffusionPipeline.load_config(folder)), is_accelerate_available()  # without accelerate, diffusers would warn
    return DiffusionPipeline.from_pretrained(folder, **unused, dtype={"default": torch.float32, **kinds}, low_cpu_mem_usage=sparing)


def left_out(index: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments by which a pipeline is loaded without its safety checker, and without a T5 that its folder lacks.

    index: the folder's model_index.json.
    """
    unused = {"safety_checker": None, "requires_safety_checker": False} if "safety_checker" in index else {}
    third = ("text_encoder_3", "tokenizer_3") if index["_class_name"] == "StableDiffusion3Pipeline" else ()
    return unused | {name: None for name in third if not index.get(name, [None])[0]}


def loaded_encoder(pipeline: Any, part: TextPart, config: Mapping[str, Any]) -> TextEncoder:
    """Return a text encoder of a loaded pipeline. config: the denoiser's."""
    tokenizer, model = getattr(pipeline, part.tokenizer), getattr(pipeline, part.model)
    length = part.length(config) if part.length else min(tokenizer.model_max_length, model.config.max_position_embeddings)
    return TextEncoder(tokenizer, model, part, length)


def pool_at_the_end(encoders: Sequence[TextEncoder]) -> None:
    """Set the end token of CLIP's text encoders, at which they pool.

    Their configs may give that token the id 2, for which transformers pools at the greatest id. A new word's id is the greatest, so the rest
    of the prompt would be lost.
    """
    for encoder in encoders:
        for module in encoder.model.modules():
            if hasattr(module, "eos_token_id"):
                module.eos_token_id = encoder.tokenizer.eos_token_id


def unet_prediction(unet: UNet2DConditionModel, latents: Tensor, timesteps: Tensor | float, hidden: Tensor, **added: Any) -> Tensor:
    """Return a UNet's prediction for noisy latents (batch, channels, height, width), in float32."""
    weight = unet.conv_in.weight
    in_rows = weight.is_contiguous(memory_format=torch.channels_last)
    latents = latents.to(weight.dtype, memory_format=torch.channels_last if in_rows else torch.contiguous_format)
    return unet(latents, timesteps, hidden.to(weight.dtype), **added).sample.float()


def at_each(timesteps: Tensor | float, latents: Tensor) -> Tensor:
    """Return the timestep of each picture: (batch,), in float32."""
    return torch.as_tensor(timesteps, dtype=torch.float32, device=latents.device).expand(len(latents))


def evenly(steps: int) -> list[float]:
    """Return noise levels in equal steps, from pure noise to one step before the picture."""
    return torch.linspace(1, 1 / steps, steps).tolist()


class Look(NamedTuple):
    """How pictures are sampled."""

    num_inference_steps: int
    guidance_scale: float


@dataclass(frozen=True)
class Family:
    """How one family of base models is loaded, reads prompts and denoises. Whatever is special about it is in its module."""

    text_encoders: tuple[TextPart, ...]
    """In the order in which a learned row has their parts. One that a model's folder leaves out takes no part."""
    encode: Callable[[Any, Sequence[Tensor]], Condition]
    """(base model, token ids (prompts, length) of each text encoder) -> the condition; new words are spliced in already."""
    denoise: Callable[[Any, Tensor, Tensor | float, Condition], Tensor]
    """(base model, noisy latents, timesteps, condition) -> the prediction, like the latents, in float32."""
    architecture: Callable[[Any], str]
    """base model -> its name in ModelSpec."""
    look: Callable[[Mapping[str, Any]], Look] = lambda config: Look(50, 7.5)
    """config of the denoiser -> how its pictures are sampled where the settings do not say: as by diffusers' pipeline, unless that knows less."""
    vae: str = "vae"
    """The autoencoder as the pipeline names it."""
    denoiser: str = "unet"
    """The denoiser as the pipeline names it."""
    load: Callable[[Path, Mapping[str, torch.dtype]], Any] = load_pipeline
    """(folder, part -> its float type where that is not float32) -> an object with the pipeline's parts."""
    repair: Callable[[Sequence[TextEncoder]], None] = lambda encoders: None
    """Corrects text encoders after they are loaded."""
    nothing: Callable[[Condition, Mapping[str, Any]], Condition] = lambda empty, config: empty
    """(condition of the empty prompt, pipeline config) -> the condition of no prompt at all."""
    reads: tuple[str, ...] = ("clip_l",)
    """The keys of the text encoders whose tokens the denoiser attends to, end to end."""
    patch: int = 1
    """Height and width, in latents, of one token of the denoiser."""
    layers: Mapping[str, str] = field(default_factory=lambda: TARGETS)
    """Set of layers that an adapter may change -> what the names of its layers end with."""
    mixed: str = "$^"
    """What the names of layers start with whose inputs are the tokens of all pictures in a row; no adapter can change one picture there."""
    sigmas: Callable[[int], Sequence[float]] | None = None
    """Number of steps -> the noise levels before the scheduler shifts them, in families that do not leave them to the scheduler."""
    distilled: Callable[[Mapping[str, Any]], bool] = lambda config: False
    """config of the denoiser -> whether guidance is one of its inputs instead of a second pass."""
