"""Textual Inversion as the paper has it (Gal et al. 2022, eq. 2): the plain training of a new word."""

from typing import TYPE_CHECKING

from tasks.inversion.section import Section

if TYPE_CHECKING:  # settings are read before torch is needed
    from tasks.diffusion.base_model import BaseModel
    from tasks.inversion.training import Training


class Options(Section):
    """The plain method has no settings of its own."""


def prepare(base: "BaseModel", training: "Training", options: Options) -> "Training":
    """Return the training as it is."""
    return training
