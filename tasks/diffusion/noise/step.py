"""One step of a sampler."""

from typing import NamedTuple

from torch import Tensor


class Step(NamedTuple):
    """From one level of noise to a lower one; what a level is, its noise process knows."""

    timestep: int | float
    """What the denoiser is told."""
    before: Tensor
    after: Tensor
