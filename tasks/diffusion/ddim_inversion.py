"""DDIM inversion: the noise from which sampling gives a picture again (Song et al. 2021, section 4.3; Dhariwal & Nichol 2021, appendix F)."""

import torch
from torch import Tensor

from tasks.diffusion.base_model import BaseModel, Condition
from tasks.diffusion.ddim import ddim_step, noise_levels

PREDICTIONS = 2  # for each step: of the autoencoder's PSNR 50 steps give back 0.95 with one, 0.998 with two


@torch.inference_mode()
def ddim_invert(base: BaseModel, latents: Tensor, prompts: Condition, num_inference_steps: int) -> Tensor:
    """Return x_T, from which `ddim_sample` with the same prompts, as many steps and guidance 1 leads to `latents`.

    A step back needs what is predicted where it leads to. It is first predicted where the step starts, and then where
    the first prediction led (fixed-point iteration, Pan et al. 2023).

    latents: (batch, channels, height, width). prompts: as many rows. Returns the same shape.
    """
    for t, alpha_bar_t, alpha_bar_prev in reversed(noise_levels(base, num_inference_steps)):
        start = latents
        for _ in range(PREDICTIONS):
            prediction = base.denoise(latents, t, prompts)
            latents = step_back(start, prediction, alpha_bar_t, alpha_bar_prev, base.noise_scheduler.config.prediction_type)
    return latents


def step_back(x_prev: Tensor, prediction: Tensor, alpha_bar_t: Tensor, alpha_bar_prev: Tensor, prediction_type: str) -> Tensor:
    """Return the x_t from which `ddim_step` with this prediction leads to `x_prev`; of v also where `alpha_bar_t` is 0."""
    if prediction_type == "v_prediction":  # a step is a turn by an angle (Salimans & Ho 2022, appendix D)
        cosine = (alpha_bar_t * alpha_bar_prev).sqrt() + ((1 - alpha_bar_t) * (1 - alpha_bar_prev)).sqrt()
        sine = (alpha_bar_prev * (1 - alpha_bar_t)).sqrt() - (alpha_bar_t * (1 - alpha_bar_prev)).sqrt()
        return (x_prev + sine * prediction) / cosine
    return ddim_step(x_prev, prediction, alpha_bar_prev, alpha_bar_t)
