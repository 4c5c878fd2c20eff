"""Textual Inversion (Gal et al. 2022, eq. 2): the rows that best denoise the concept's pictures under neutral captions."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tasks.diffusion.changes import Changes
from tasks.words.learned import Learned


@dataclass
class Rows:
    """The vectors of a new word, which are trained; everything else stays frozen."""

    placeholder_token: str
    rows: Tensor
    """(vectors, dim), the only parameters."""
    learning_rate: float
    published: int
    """How many of the vectors, from the first, are the word. A method may train more."""
    average_last: float
    """The share of the steps, from the end, whose rows are averaged; 0 takes those of the last step."""
    after_step: Callable[["Rows"], None] | None = None
    """What a method does to the rows after every step."""
    penalty: Callable[[Tensor], Tensor] | None = None
    """What a method adds to the loss, as a function of rows (vectors, dim)."""
    fixed: Tensor | None = None
    """(dim,): true where the rows stay as they start; None: nowhere. Rows for each layer repeat it."""
    changes: Changes = field(default_factory=dict, init=False)
    """Rows leave the denoiser as it is."""

    def __post_init__(self) -> None:
        # Without weight decay, which would pull the word towards zero and not towards the vocabulary.
        self.optimizer = torch.optim.AdamW([self.rows], lr=self.learning_rate, weight_decay=0.0)
        self.average, self.start = torch.zeros_like(self.rows, requires_grad=False), self.rows.detach().clone()

    @property
    def learned(self) -> Learned:
        """What is published: the word's vectors, averaged."""
        return Learned(self.placeholder_token, self.average[: self.published])

    def count_step(self, step: int) -> None:
        """Add the rows after optimizer step `step`, counted from 1, to the average.

        Later steps weigh more, by a power of their number (Shamir & Zhang 2013), so the number of steps need not be known. The power
        gives the mean age that the plain average over the last `average_last` of the steps has.
        """
        power = 2 / self.average_last - 2 if self.average_last else float("inf")
        with torch.no_grad():
            self.average.lerp_(self.rows, 1.0 if power == float("inf") else (power + 1) / (power + step))
        if self.after_step:
            self.after_step(self)
        if self.fixed is not None:
            columns = self.fixed.repeat(self.rows.shape[1] // len(self.fixed))
            with torch.no_grad():
                for values in (self.rows, self.average):
                    values[:, columns] = self.start[:, columns]

    def state(self) -> dict[str, Any]:
        return {"rows": self.rows.detach(), "average": self.average, "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            self.rows.copy_(state["rows"])
        self.average.copy_(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])


def first_rows(start: Tensor, num_vectors: int, generator: torch.Generator) -> Tensor:
    """Return the rows (num_vectors, dim) that a word starts as.

    start: (rows, dim). As many vectors as rows take one row each, in order. One vector takes the mean of the rows, which is nearest to all of
    them. Several vectors of a single row all start there, moved a little apart.
    """
    if len(start) == num_vectors:
        return start.clone()
    row = start.mean(dim=0)
    rows = row.repeat(num_vectors, 1)
    rows[1:] += 0.01 * row.norm() * torch.randn(rows[1:].shape, generator=generator) / row.numel() ** 0.5
    return rows
