"""Stable Diffusion 1.x and 2.x (Rombach et al. 2022): one CLIP text encoder, a UNet that predicts the noise or v."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from tasks.diffusion.families.parts import CLIP_L, Condition, Family, unet_prediction

WIDTH_OF_2 = 1024


def encode(base: Any, ids: Sequence[Tensor]) -> Condition:
    """Return the text encoder's last layer."""
    return Condition(base.text_encoders[0].model(ids[0]).last_hidden_state)


def denoise(base: Any, latents: Tensor, timesteps: Tensor | float, condition: Condition) -> Tensor:
    return unet_prediction(base.denoiser, latents, timesteps, condition.hidden)


def architecture(base: Any) -> str:
    """Return the model's name in ModelSpec. Stable Diffusion 2 has the classes of 1, a wider text encoder, and two variants."""
    if base.widths != [WIDTH_OF_2]:
        return "stable-diffusion-v1"
    return "stable-diffusion-v2-768-v" if base.noise_scheduler.config.prediction_type == "v_prediction" else "stable-diffusion-v2-512"


FAMILY = Family(text_encoders=(CLIP_L,), encode=encode, denoise=denoise, architecture=architecture)
