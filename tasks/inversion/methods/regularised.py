"""Regularised inversion (Gal et al. 2022, section 5.1): the word stays near the coarse word."""

from typing import TYPE_CHECKING

from pydantic import Field

from tasks.inversion.section import Section

if TYPE_CHECKING:  # settings are read before torch is needed
    from torch import Tensor

    from tasks.diffusion.base_model import BaseModel
    from tasks.inversion.training import Training


class Options(Section):
    weight: float = Field(gt=0, le=1_000_000)
    """Weight of the squared distance to the coarse word."""


def prepare(base: "BaseModel", training: "Training", options: Options) -> "Training":
    """Add to a word's loss the mean squared L2 distance of its vectors from the coarse word, where they started."""
    coarse = training.trainable.rows.detach().clone()

    def penalty(rows: "Tensor") -> "Tensor":
        return options.weight * (rows - coarse).square().sum(dim=1).mean()

    training.trainable.penalty = penalty
    return training
