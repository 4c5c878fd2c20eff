"""A word and a LoRA of the denoiser (Hu et al. 2021), trained together, or one after the other (pivotal tuning).

Pivotal tuning: Roich et al. 2021, and Gal et al. 2022, appendix A. LoRA of convolutions: LoCon (Yeh et al. 2023).
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

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
    learning_rate: float = Field(gt=0)
    """The constant rate of AdamW for the LoRA; the word has `invert.learning_rate`."""
    steps: int | None = Field(ge=1)
    """Optimizer steps of the LoRA after the word's own training, with the word held fixed; null trains both together."""


def prepare(base: "BaseModel", training: "Training", options: Options) -> "Training":
    """Train a LoRA of the denoiser beside the word, or once the word's own training has ended.

    Raises:
        ValueError: the denoiser has no such layers, or the rank is larger than that of one of them.
    """
    from dataclasses import replace

    from tasks.inversion.adapter import Adapter, new_changes
    from tasks.inversion.methods import method
    from tasks.inversion.schedule import Schedule
    from tasks.inversion.training import Training

    word_method = method(options.word)
    training = word_method.prepare(base, training, word_method.Options())
    changes = new_changes(base, options.layers, options.rank, training.data.generator.initial_seed(), training.concept)
    if options.steps is None:
        training.trainable = Adapter(training.trainable, changes, options.learning_rate)
        return training
    steps = options.steps

    def tuning(word: "Training") -> "Training":
        assert word.result is not None
        fixed = replace(word.trainable, rows=word.result.rows.detach().clone())
        adapter = Adapter(fixed, changes, options.learning_rate)
        schedule = Schedule(steps, seconds=word.schedule.seconds)
        return Training(word.concept, word.data, adapter, schedule, before=word, phase="tuning", rate="learning_rate in invert.options")

    training.then = tuning
    return training
