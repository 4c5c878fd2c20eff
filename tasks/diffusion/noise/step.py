"""One step of a sampler."""

from typing import NamedTuple

from torch import Tensor


class Step(NamedTuple):
    """A step from one level of noise to a lower one; the noise process defines the levels."""

    timestep: int | float
    """The timestep that the denoiser reads."""
    before: Tensor
    after: Tensor
