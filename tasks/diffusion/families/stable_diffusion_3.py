"""Stable Diffusion 3 and 3.5 (Esser et al. 2024): two CLIP text encoders and T5, and a transformer that predicts the velocity of rectified flow."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.diffusion.changes import TRANSFORMER
from tasks.diffusion.families.parts import CLIP_G, CLIP_L, Condition, Family, Look, TextPart, at_each, pool_at_the_end

T5_TOKENS = 256
T5 = TextPart("tokenizer_3", "text_encoder_3", "t5xxl", lambda config: T5_TOKENS, pieces=True)


def encode(base: Any, ids: Sequence[Tensor]) -> Condition:
    """Return the penultimate layers of both CLIPs, one beside the other and then T5's last layer, and the pooled prompts of the CLIPs.

    A model without T5 reads zeros in its place.
    """
    encoders, width = base.text_encoders, base.denoiser.config.joint_attention_dim
    clips = [encoder.model(part, output_hidden_states=True) for encoder, part in zip(encoders[:2], ids, strict=False)]
    of_clip = torch.cat([output.hidden_states[-2] for output in clips], dim=-1)
    of_t5 = encoders[2].model(ids[2]).last_hidden_state if len(encoders) > 2 else of_clip.new_zeros(len(of_clip), T5_TOKENS, width)
    hidden = torch.cat([F.pad(of_clip, (0, width - of_clip.shape[-1])), of_t5], dim=1)
    return Condition(hidden, torch.cat([output.text_embeds for output in clips], dim=-1))


def denoise(base: Any, latents: Tensor, timesteps: Tensor | float, condition: Condition) -> Tensor:
    kind = base.denoiser.dtype
    assert condition.pooled is not None
    texts = {"encoder_hidden_states": condition.hidden.to(kind), "pooled_projections": condition.pooled.to(kind)}
    return base.denoiser(latents.to(kind), **texts, timestep=at_each(timesteps, latents), return_dict=False)[0].float()


FAMILY = Family(
    text_encoders=(CLIP_L, CLIP_G, T5),
    encode=encode,
    denoise=denoise,
    architecture=lambda base: "stable-diffusion-3",
    look=lambda config: Look(28, 7.0),
    denoiser="transformer",
    repair=lambda encoders: pool_at_the_end(encoders[:2]),
    reads=("clip_l", "t5xxl"),
    patch=2,
    layers=TRANSFORMER,
)
