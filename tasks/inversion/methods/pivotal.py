"""Pivotal tuning (Gal et al. 2022, appendix A; Roich et al. 2021): once the word is found, the denoiser is tuned around it."""

from typing import TYPE_CHECKING

from pydantic import Field

from tasks.inversion.section import Section

if TYPE_CHECKING:  # settings are read before torch is needed
    from tasks.diffusion.base_model import BaseModel
    from tasks.inversion.training import Training


class Options(Section):
    steps: int = Field(ge=1)
    """Optimizer steps of the tuning, with the word held fast."""
    rank: int = Field(ge=1, le=128)
    """Rank of the LoRA."""
    learning_rate: float = Field(gt=0)
    """The constant rate of AdamW."""


def prepare(base: "BaseModel", training: "Training", options: Options) -> "Training":
    """Train a LoRA of the denoiser's attention once the word's own training has ended.

    Raises:
        ValueError: peft is not installed.
    """
    from tasks.inversion.adapter import Adapter
    from tasks.inversion.schedule import Schedule
    from tasks.inversion.training import Training
    from tasks.words.learned import require_peft

    require_peft(f"invert.method pivotal of {training.concept}")
    seed = training.data.generator.initial_seed()

    def tuning(word: "Training") -> "Training":
        assert word.result is not None
        rows = word.result.rows.detach().clone()
        adapter = Adapter(word.data.placeholder_token, rows, options.rank, options.learning_rate, seed)
        schedule = Schedule(options.steps, seconds=word.schedule.seconds)
        return Training(word.concept, word.data, adapter, schedule, before=word, phase="tuning", rate="learning_rate in invert.options")

    training.then = tuning
    return training
