"""A word and a LoRA of the denoiser (Hu et al. 2021), trained together, or one after the other (pivotal tuning).

Pivotal tuning: Roich et al. 2021, and Gal et al. 2022, appendix A. LoRA of convolutions: LoCon (Yeh et al. 2023).
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tasks.inversion.prior import Preservation
from tasks.inversion.section import Section

if TYPE_CHECKING:  # settings are read before torch is needed
    from tasks.diffusion.base_model import BaseModel
    from tasks.inversion.training import Training


class Options(Section):
    word: Literal["textual_inversion", "norm_held"]
    """The method by which the word itself is trained."""
    layers: Literal["cross_attention", "attention", "linear", "convolutions"]
    """The layers of the denoiser that are changed; each set has those before it. `linear` and `convolutions` are those of the blocks."""
    rank: int = Field(ge=1, le=128)
    """Rank of each layer's change."""
    alpha: float | None = Field(default=None, gt=0, le=1_000)
    """The change is scaled by alpha / rank, as in peft and kohya's scripts; null is the rank, so the scale is 1."""
    learning_rate: float = Field(gt=0, le=10)
    """The constant rate of AdamW for the LoRA; the word has `invert.learning_rate`."""
    steps: int | None = Field(ge=1, le=10_000_000)
    """Optimizer steps of the LoRA after the word's own training, with the word held fixed; null trains both together."""
    prior: Preservation | None = None
    """Prior preservation with pictures of the class while the LoRA is trained; null for none."""


def prepare(base: "BaseModel", training: "Training", options: Options) -> "Training":
    """Train a LoRA of the denoiser beside the word, or once the word's own training has ended.

    Raises:
        ValueError: the denoiser has no such layers, the rank is larger than that of one of them, or the class to preserve has no word.
    """
    from dataclasses import replace

    from tasks.inversion.adapter import Adapter, new_lora, tuned_after
    from tasks.inversion.methods import method
    from tasks.inversion.prior import prior_of

    word_method = method(options.word)
    training = word_method.prepare(base, training, word_method.Options())
    changes = new_lora(base, options.layers, options.rank, training.data.generator.initial_seed(), training.concept)
    data = replace(training.data, prior=prior_of(base, training.data, options.prior, training.concept))
    scale = 1.0 if options.alpha is None else options.alpha / options.rank
    if options.steps is not None:
        return tuned_after(training, data, options.steps, lambda fixed: Adapter(fixed, changes, options.learning_rate, scale))
    training.data = data
    training.trainable = Adapter(training.trainable, changes, options.learning_rate, scale)
    return training
