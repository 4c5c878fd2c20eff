"""FLUX.1 (Black Forest Labs 2024): CLIP's pooled prompt, T5's tokens, and a transformer that predicts the velocity of rectified flow.

FLUX.1 dev reads the guidance scale as an input, since guidance was distilled into it; schnell has none.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.diffusion.changes import TRANSFORMER
from tasks.diffusion.families.parts import CLIP_L, Condition, Family, Look, TextPart, at_each, evenly, pool_at_the_end

PATCH = 2


def t5_tokens(config: Mapping[str, Any]) -> int:
    """Return the length of T5's prompts: schnell was trained on shorter ones."""
    return 512 if config["guidance_embeds"] else 256


T5 = TextPart("tokenizer_2", "text_encoder_2", "t5xxl", t5_tokens, pieces=True)


def encode(base: Any, ids: Sequence[Tensor]) -> Condition:
    """Return T5's last layer and the pooled prompt of CLIP."""
    clip, t5 = base.text_encoders
    return Condition(t5.model(ids[1]).last_hidden_state, clip.model(ids[0]).pooler_output)


def denoise(base: Any, latents: Tensor, timesteps: Tensor | float, condition: Condition) -> Tensor:
    """Predict the velocity. Without a guidance scale, as in training, dev reads 1: the prediction as it would be without guidance."""
    model, (height, width) = base.denoiser, (latents.shape[2] // PATCH, latents.shape[3] // PATCH)
    kind, device = model.dtype, latents.device
    rows, columns = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
    places = torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).flatten(0, 1).to(kind)
    guidance = torch.ones(len(latents), device=device) if condition.guidance is None else condition.guidance
    assert condition.pooled is not None
    packed = F.pixel_unshuffle(latents, PATCH).flatten(2).transpose(1, 2)
    velocity = model(
        hidden_states=packed.to(kind),
        timestep=at_each(timesteps, latents) / base.noise.num_train_timesteps,
        guidance=guidance if model.config.guidance_embeds else None,
        pooled_projections=condition.pooled.to(kind),
        encoder_hidden_states=condition.hidden.to(kind),
        txt_ids=torch.zeros(condition.hidden.shape[1], 3, dtype=kind, device=device),
        img_ids=places,
        return_dict=False,
    )[0]
    return F.pixel_shuffle(velocity.transpose(1, 2).unflatten(2, (height, width)), PATCH).float()


FAMILY = Family(
    text_encoders=(CLIP_L, T5),
    encode=encode,
    denoise=denoise,
    architecture=lambda base: "flux-1-dev" if base.denoiser.config.guidance_embeds else "flux-1-schnell",
    look=lambda config: Look(28, 3.5) if config["guidance_embeds"] else Look(4, 1.0),  # schnell was made for few steps without guidance
    denoiser="transformer",
    repair=lambda encoders: pool_at_the_end(encoders[:1]),
    reads=("t5xxl",),
    patch=PATCH,
    layers=TRANSFORMER,
    sigmas=evenly,
    distilled=lambda config: config["guidance_embeds"],
)
