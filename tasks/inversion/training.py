"""A concept in training is three things: what it learns from, what is trained, and for how long."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from tasks.diffusion.base_model import BaseModel
from tasks.diffusion.changes import Changes
from tasks.diffusion.words import initializer_rows
from tasks.inversion.data import Data, caption_ids
from tasks.inversion.options import EarlyStop
from tasks.inversion.rows import Rows, first_rows
from tasks.inversion.schedule import Schedule
from tasks.words.learned import Learned


class Trainable(Protocol):
    """What a training changes: the rows of a word, an adapter of the denoiser."""

    rows: Tensor
    """(vectors, dim): the vectors that the captions read."""
    optimizer: torch.optim.Optimizer
    changes: Changes
    """Layer of the denoiser -> the change that is trained for it; empty where the denoiser stays as it is."""
    penalty: Callable[[Tensor], Tensor] | None
    fixed: Tensor | None
    """(dim,): true where the rows stay as they start; None: nowhere."""

    @property
    def learned(self) -> Learned:
        """What is published."""

    def count_step(self, step: int) -> None: ...

    def state(self) -> dict[str, Any]:
        """Return all that a resumed training needs."""

    def restore(self, state: dict[str, Any]) -> None: ...


@dataclass
class Training:
    """One concept in training. Trainings share nothing, so each gives the same result alone and in a batch."""

    concept: str
    data: Data
    trainable: Any  # a Trainable
    schedule: Schedule
    begin: Callable[["Training"], object] = lambda training: None
    """Called when the training joins a batch; until then one that waits takes no memory that it does not need."""
    then: Callable[["Training"], "Training"] | None = None
    """Makes the training that continues where this one ends."""
    before: "Training | None" = None
    """The training that this one continues."""
    phase: str = "training"
    rate: str = "invert.learning_rate"
    """The setting that is lowered when the loss is not finite."""
    error: str | None = None
    result: Learned | None = None
    """What was learned, once the training has ended."""

    @property
    def done(self) -> bool:
        return self.error is not None or self.schedule.done

    @property
    def learned(self) -> Learned:
        """What would be published now: the rows that scored best in a probe, where there are probes."""
        learned = self.trainable.learned
        return learned if self.schedule.best is None else replace(learned, rows=self.schedule.best)

    @property
    def schedules(self) -> list[Schedule]:
        """The schedules of its phases, the first phase first."""
        return [*(self.before.schedules if self.before else ()), self.schedule]

    def count_step(self, seconds: float = 0.0) -> None:
        """Count an optimizer step that took `seconds`."""
        self.schedule.step += 1
        self.schedule.seconds += seconds
        self.trainable.count_step(self.schedule.step)

    def state(self) -> dict[str, Any]:
        """Return all that a resumed training needs."""
        return {**self.trainable.state(), **self.schedule.state(), "generator": self.data.generator.get_state()}

    def restore(self, state: dict[str, Any]) -> None:
        self.trainable.restore(state)
        self.schedule.restore(state)
        if self.schedule.best is not None:
            self.schedule.best = self.schedule.best.to(self.trainable.rows.device)
        self.data.generator.set_state(state["generator"])


def new_training(
    base: BaseModel,
    concept: str,
    placeholder_token: str,
    initializer: str | Tensor,
    kind: Literal["object", "style"],
    templates: tuple[str, ...],
    latents: tuple[Tensor, Tensor],
    num_vectors: int,
    batch_size: int,
    learning_rate: float,
    max_train_steps: int,
    timesteps: tuple[float, float],
    average_last: float,
    seed: int,
    early_stop: EarlyStop | None = None,
    contexts: tuple[str, ...] = ("",),
    text_encoders: tuple[str, ...] | None = None,
) -> Training:
    """Prepare the training of a word that starts as its initializer: an ordinary word, a phrase, or the rows of another concept (vectors, dim).

    latents: the means and standard deviations of the pictures' latents, each (pictures, channels, height, width). text_encoders: the keys of
    those that learn the word; None: all.

    Raises:
        ValueError: the base model has no such text encoder, the placeholder is a word already, a word of the initializer is not one token, or
            its rows do not fit `num_vectors`.
    """
    generator = torch.Generator().manual_seed(seed)
    start = (initializer if isinstance(initializer, Tensor) else initializer_rows(base, initializer)).cpu().float()
    if num_vectors not in (1, len(start)) and len(start) > 1:
        raise ValueError(
            f"{concept} has invert.num_vectors {num_vectors} and starts as {len(start)} vectors; set it to {len(start)}, or to 1 for their mean"
        )
    rows = first_rows(start, num_vectors, generator).to(base.device).requires_grad_(True)
    input_ids = caption_ids(base, [template.format(placeholder_token) for template in templates], contexts, {placeholder_token: num_vectors})
    means, stds = latents[0].cpu(), latents[1].cpu()
    class_word = initializer if isinstance(initializer, str) else None
    data = Data(kind, placeholder_token, templates, contexts, lambda step: input_ids, means, stds, batch_size, timesteps, generator, class_word)
    fixed = fixed_columns(base, text_encoders, concept).to(base.device) if text_encoders else None
    trainable = Rows(placeholder_token, rows, learning_rate, num_vectors, average_last, fixed=fixed)
    return Training(concept, data, trainable, Schedule(max_train_steps, early_stop))


def fixed_columns(base: BaseModel, text_encoders: tuple[str, ...], concept: str) -> Tensor:
    """Return where the rows of a word belong to other text encoders than those that learn it: (dim,).

    Raises:
        ValueError: the base model has no such text encoder.
    """
    if unknown := [key for key in text_encoders if key not in base.parts]:
        there = ", ".join(base.parts)
        raise ValueError(f"invert.text_encoders of {concept} has {unknown[0]}, but {base.identity['model']} has {there}; choose from these")
    return torch.cat([torch.full((width,), key not in text_encoders) for key, width in base.parts.items()])
