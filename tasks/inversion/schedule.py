"""How long a training goes on: its steps, the early stop, the probes by which a step is picked, and the record of them all."""

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import fmean
from statistics import pvariance as variance
from typing import Any

from torch import Tensor

from tasks.inversion.options import EarlyStop
from tasks.words.learned import Learned

MOST_ROWS = 2_000  # of a training's record; a longer training has a row for every second, third ... step
Probe = Callable[[Learned], dict[str, float]]
"""What is learned so far -> its reconstruction, editability, and the `score` of both."""


@dataclass
class Schedule:
    """The steps of a training, its losses on the fixed batch and its probes."""

    max_train_steps: int
    early_stop: EarlyStop | None = None
    not_before: int = 0
    """The step after which all vectors train; the early stop leaves out the looks before it."""
    probe: Probe | None = None
    probe_every: int = 0
    """Optimizer steps between two probes."""
    step: int = 0
    seconds: float = 0.0
    """This training's share of the time of the batches that it was in."""
    fixed_losses: list[float] = field(default_factory=list)
    """The losses on the fixed batch, whose pictures, captions, noise and timesteps are the same at every look."""
    settled: bool = False
    """Whether the early stop has found that there is nothing more to learn."""
    probes: list[dict[str, float]] = field(default_factory=list)
    """`step` and scores of every probe."""
    best: Tensor | None = None
    """(vectors, dim): the rows that scored best."""
    recorded: list[tuple[int, float, float]] = field(default_factory=list)
    """(optimizer step, mean loss of the steps since the entry before, norm of the word after the step)."""
    unrecorded: list[float] = field(default_factory=list)
    """The losses of the steps since the last entry of `recorded`."""

    @property
    def done(self) -> bool:
        return self.settled or self.step >= self.max_train_steps

    def watch(self, loss: float) -> None:
        """Add a loss on the fixed batch; the training may stop when the last losses hardly differ (DVAR, Voronov et al. 2023)."""
        assert self.early_stop is not None
        self.fixed_losses.append(loss)
        needed = self.early_stop.window + self.not_before / self.early_stop.every
        self.settled = len(self.fixed_losses) > needed and self.variance_ratio < self.early_stop.ratio

    @property
    def looks(self) -> list[tuple[int, float]]:
        """(optimizer step, loss on the fixed batch) of every look."""
        return [(number * self.early_stop.every, loss) for number, loss in enumerate(self.fixed_losses, start=1)] if self.early_stop else []

    @property
    def variance_ratio(self) -> float:
        """The variance of the last losses on the fixed batch, as a share of that of all."""
        assert self.early_stop is not None
        return variance(self.fixed_losses[-self.early_stop.window :]) / (variance(self.fixed_losses) or 1.0)

    @property
    def due_for_a_look(self) -> bool:
        return self.early_stop is not None and self.step % self.early_stop.every == 0

    @property
    def due_for_a_probe(self) -> bool:
        return self.probe is not None and (self.done or self.step % self.probe_every == 0)

    def run_probe(self, learned: Learned) -> None:
        """Probe what would be published now, and keep its rows if none scored better."""
        assert self.probe is not None
        scores = self.probe(learned)
        if all(scores["score"] > earlier["score"] for earlier in self.probes):
            self.best = learned.rows.clone()
        self.probes.append({"step": self.step, **scores})

    def record(self, step: int, loss: float, norm: float) -> None:
        """Record an optimizer step, counted from 1: its loss, and the norm of the word after it."""
        self.unrecorded.append(loss)
        if step % -(-self.max_train_steps // MOST_ROWS) == 0 or (self.done and step == self.step):
            self.recorded.append((step, fmean(self.unrecorded), norm))
            self.unrecorded.clear()

    def state(self) -> dict[str, Any]:
        names = ("step", "seconds", "fixed_losses", "settled", "probes", "best", "recorded", "unrecorded")
        return {name: getattr(self, name) for name in names}

    def restore(self, state: dict[str, Any]) -> None:
        for name in self.state().keys() & state.keys():  # a checkpoint of an earlier release has no record
            setattr(self, name, state[name])
