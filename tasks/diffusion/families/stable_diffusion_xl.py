"""Stable Diffusion XL (Podell et al. 2023): two CLIP text encoders, a pooled prompt, and the picture's sizes as a further input."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tasks.diffusion.families.parts import CLIP_G, CLIP_L, Condition, Family, Look, pool_at_the_end, unet_prediction


def encode(base: Any, ids: Sequence[Tensor]) -> Condition:
    """Return the penultimate layers of both encoders, end to end, and the pooled prompt of the second."""
    outputs = [encoder.model(part, output_hidden_states=True) for encoder, part in zip(base.text_encoders, ids, strict=True)]
    return Condition(torch.cat([output.hidden_states[-2] for output in outputs], dim=-1), outputs[-1].text_embeds)


def denoise(base: Any, latents: Tensor, timesteps: Tensor | float, condition: Condition) -> Tensor:
    weight, side = base.denoiser.conv_in.weight, base.resolution
    assert condition.pooled is not None
    sizes = torch.tensor([[side, side, 0, 0, side, side]], dtype=weight.dtype, device=weight.device)  # original size, crop offset, target size
    added = {"text_embeds": condition.pooled.to(weight.dtype), "time_ids": sizes.expand(len(latents), -1)}
    return unet_prediction(base.denoiser, latents, timesteps, condition.hidden, added_cond_kwargs=added)


def nothing(empty: Condition, config: Mapping[str, Any]) -> Condition:
    """Return zeros for no prompt where the pipeline was trained so, else the empty prompt."""
    if not config.get("force_zeros_for_empty_prompt", False):
        return empty
    return empty._replace(hidden=torch.zeros_like(empty.hidden), pooled=None if empty.pooled is None else torch.zeros_like(empty.pooled))


FAMILY = Family(
    text_encoders=(CLIP_L, CLIP_G),
    encode=encode,
    denoise=denoise,
    architecture=lambda base: "stable-diffusion-xl-v1-base",
    repair=pool_at_the_end,
    nothing=nothing,
    look=lambda config: Look(50, 5.0),
)
