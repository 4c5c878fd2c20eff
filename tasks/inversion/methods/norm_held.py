"""Norm-held inversion (DTI, 2026): only the direction is learned, since long vectors make a word hard to edit."""

from typing import TYPE_CHECKING

from tasks.inversion.section import Section

if TYPE_CHECKING:  # settings are read before torch is needed
    from torch import Tensor

    from tasks.diffusion.base_model import BaseModel
    from tasks.inversion.rows import Rows
    from tasks.inversion.training import Training


class Options(Section):
    """The held norm is the vocabulary's, so there is nothing to set."""


def prepare(base: "BaseModel", training: "Training", options: Options) -> "Training":
    """Rescale a word's vectors to the vocabulary's mean norm after every step; each text encoder's part has its own norm."""
    import torch

    layers = training.trainable.rows.shape[1] // sum(base.widths)
    norms = [float(encoder.table.weight.norm(dim=1).mean()) for encoder in base.text_encoders] * layers

    @torch.no_grad()
    def hold(rows: "Tensor") -> None:
        for part, norm in zip(rows.split(base.widths * layers, dim=1), norms, strict=True):
            part *= norm / part.norm(dim=1, keepdim=True).clamp(min=1e-12)

    def after_step(word: "Rows") -> None:
        hold(word.rows)
        hold(word.average)

    hold(training.trainable.rows)
    training.trainable.after_step = after_step
    return training
