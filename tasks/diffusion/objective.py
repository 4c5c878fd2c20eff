"""The denoising objective (Gal et al. 2022, eq. 2)."""

import torch
from torch import Tensor


def per_picture_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error of each picture: (batch, ...) -> (batch,)."""
    return torch.mean((prediction - target).square(), dim=tuple(range(1, prediction.ndim)))
