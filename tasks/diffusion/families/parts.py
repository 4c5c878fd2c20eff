"""The parts of a family: text encoders that words are spliced into, the condition that a denoiser reads, and the family's interface."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers import DiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

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

    def rows(self, index: slice | list[int]) -> "Condition":
        """Return the condition of some of the prompts."""
        return Condition(self.hidden[index], *(None if part is None else part[index] for part in self[1:]))

    def repeat(self, count: int) -> "Condition":
        """Return the condition of one prompt `count` times."""
        return Condition(self.hidden.expand(count, -1, -1), *(None if part is None else part.expand(count, *part.shape[1:]) for part in self[1:]))

    def followed_by(self, other: "Condition") -> "Condition":
        """Return these prompts and then the others."""
        pooled = None if self.pooled is None or other.pooled is None else torch.cat([self.pooled, other.pooled])
        hidden = torch.cat(equally_wide([self.hidden, other.hidden]))
        known = next((part for part in (self.strengths, other.strengths) if part is not None), None)
        if known is None:
            return Condition(hidden, pooled)
        strengths = [torch.zeros(len(part.hidden), *known.shape[1:]) if part.strengths is None else part.strengths for part in (self, other)]
        return Condition(hidden, pooled, torch.cat(strengths))


class TextEncoder(NamedTuple):
    """A frozen text encoder and its tokenizer."""

    tokenizer: PreTrainedTokenizerBase
    model: PreTrainedModel

    @property
    def table_owner(self) -> tuple[nn.Module, str]:
        """The module that holds the embedding table, and the table's name in it."""
        table = self.table
        return next((module, name) for module in self.model.modules() for name, child in module.named_children() if child is table)

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
    (owner, name), frozen = encoder.table_owner, encoder.table
    setattr(owner, name, SplicedEmbedding(frozen, len(encoder.tokenizer), learned))
    try:
        yield
    finally:
        setattr(owner, name, frozen)


def load_pipeline(folder: Path) -> DiffusionPipeline:
    """Load a diffusers folder in float32, without the parts that no stage uses."""
    unused = {"safety_checker": None, "requires_safety_checker": False} if "safety_checker" in DiffusionPipeline.load_config(folder) else {}
    return DiffusionPipeline.from_pretrained(folder, **unused, dtype=torch.float32, low_cpu_mem_usage=False)  # True needs accelerate


def unet_prediction(unet: UNet2DConditionModel, latents: Tensor, timesteps: Tensor | float, hidden: Tensor, **added: Any) -> Tensor:
    """Return a UNet's prediction for noisy latents (batch, channels, height, width), in float32."""
    weight = unet.conv_in.weight
    in_rows = weight.is_contiguous(memory_format=torch.channels_last)
    latents = latents.to(weight.dtype, memory_format=torch.channels_last if in_rows else torch.contiguous_format)
    return unet(latents, timesteps, hidden.to(weight.dtype), **added).sample.float()


@dataclass(frozen=True)
class Family:
    """How one family of base models is loaded, reads prompts and denoises. Whatever is special about it is in its module."""

    text_encoders: tuple[tuple[str, str], ...]
    """(tokenizer, text encoder) as the pipeline names them, in the order in which a learned row has their parts."""
    encode: Callable[[Sequence[TextEncoder], Sequence[Tensor]], Condition]
    """(text encoders, their token ids (prompts, length)) -> the condition; new words are spliced in already."""
    denoise: Callable[[Any, Tensor, Tensor | float, Condition], Tensor]
    """(base model, noisy latents, timesteps, condition) -> the prediction, like the latents, in float32."""
    architecture: Callable[[Any], str]
    """base model -> its name in ModelSpec."""
    vae: str = "vae"
    """The autoencoder as the pipeline names it."""
    load: Callable[[Path], Any] = load_pipeline
    """folder -> an object with the pipeline's parts, its `scheduler` and `unet`."""
    repair: Callable[[Sequence[TextEncoder]], None] = lambda encoders: None
    """Corrects text encoders after they are loaded."""
    nothing: Callable[[Condition, Mapping[str, Any]], Condition] = lambda empty, config: empty
    """(condition of the empty prompt, pipeline config) -> the condition of no prompt at all."""
