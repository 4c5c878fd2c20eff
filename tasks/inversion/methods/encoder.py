"""A word from an encoder (E4T, Gal et al. 2023): it starts as the encoder's word for the pictures, and a few optimizer steps refine it."""

from typing import TYPE_CHECKING

from pydantic import Field

from tasks.inversion.section import Section

if TYPE_CHECKING:  # settings are read before torch is needed
    from tasks.diffusion.base_model import BaseModel
    from tasks.inversion.training import Training


class Options(Section):
    weight: float = Field(gt=0, le=1_000_000)
    """Weight of the squared distance to the encoder's word."""


def prepare(base: "BaseModel", training: "Training", options: Options) -> "Training":
    """Train the direction of a word's vectors at the vocabulary's mean norm, near the encoder's word, which they start as."""
    from tasks.inversion.methods import norm_held, regularised

    held = norm_held.prepare(base, training, norm_held.Options())
    return regularised.prepare(base, held, regularised.Options(weight=options.weight))
