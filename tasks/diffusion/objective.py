"""The denoising objective (Ho et al. 2020; Gal et al. 2022, eq. 1) on latents."""

import torch
from torch import Tensor


def add_noise(latents: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """Return noisy latents sqrt(alpha_bar) z + sqrt(1 - alpha_bar) eps; `alpha_bar` broadcasts."""
    return alpha_bar.sqrt() * latents + (1 - alpha_bar).sqrt() * noise


def target(latents: Tensor, noise: Tensor, alpha_bar: Tensor, prediction_type: str) -> Tensor:
    """Return what the denoiser is to predict.

    Raises:
        ValueError: the base model predicts neither epsilon nor v.
    """
    if prediction_type == "epsilon":
        return noise
    if prediction_type == "v_prediction":  # Salimans & Ho 2022
        return alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * latents
    raise ValueError(f"prediction_type {prediction_type!r} of the base model is not supported; use a model that predicts epsilon or v_prediction")


def to_epsilon(prediction: Tensor, noisy_latents: Tensor, alpha_bar: Tensor, prediction_type: str) -> Tensor:
    """Return the noise that a prediction stands for."""
    if prediction_type == "v_prediction":
        return alpha_bar.sqrt() * prediction + (1 - alpha_bar).sqrt() * noisy_latents
    return prediction


def to_clean(prediction: Tensor, noisy_latents: Tensor, alpha_bar: Tensor, prediction_type: str) -> Tensor:
    """Return the latents without noise that a prediction stands for. Epsilon tells nothing of them where `alpha_bar` is 0, v does."""
    if prediction_type == "v_prediction":
        return alpha_bar.sqrt() * noisy_latents - (1 - alpha_bar).sqrt() * prediction
    return (noisy_latents - (1 - alpha_bar).sqrt() * prediction) / alpha_bar.sqrt()


def per_picture_loss(prediction: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean squared error of each picture: (batch, ...) -> (batch,)."""
    return torch.mean((prediction - wanted).square(), dim=tuple(range(1, prediction.ndim)))
