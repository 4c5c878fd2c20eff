"""Blended Latent Diffusion (Avrahami, Fried & Lischinski 2023): a picture is redrawn inside a mask and unchanged outside."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from tasks.diffusion.base_model import BaseModel
from tasks.diffusion.ddim import AfterStep, encode, generate

EDITED = 128  # grey levels from which a pixel of a mask is edited


def blended(
    base: BaseModel,
    picture: Image.Image,
    mask: Image.Image,
    prompt: str,
    seeds: Sequence[int],
    learned: Mapping[str, Tensor],
    num_inference_steps: int,
    guidance_scale: float,
    batch_size: int,
    negative: str = "",
) -> Iterator[Image.Image]:
    """Yield for each seed the picture with the prompt drawn inside the mask; the pixels outside are unchanged.

    picture, mask: both of the model's resolution; the mask is white where the picture is edited. The rest as in `generate`.
    """
    edited = inside(mask)
    after_step = outside_kept(base, encode(base, [picture])[0], latent_mask(base, edited))
    for drawn in generate(base, [prompt] * len(seeds), seeds, learned, num_inference_steps, guidance_scale, batch_size, after_step, negative):
        # The autoencoder is not exact, so the outside is taken from the picture itself.
        yield Image.composite(drawn, picture, edited)


def inside(mask: Image.Image) -> Image.Image:
    """Return a mask in black and white alone (mode L)."""
    return mask.convert("L").point(lambda grey: 255 * (grey >= EDITED))


def latent_mask(base: BaseModel, edited: Image.Image) -> Tensor:
    """Return which latents hold any pixel of the mask, so that thin lines are not lost: (1, 1, height, width) of bool."""
    pixels = torch.from_numpy(np.asarray(edited, dtype=np.float32))[None, None]
    return (F.adaptive_max_pool2d(pixels, base.latent_shape[1:]) > 0).to(base.device)


def outside_kept(base: BaseModel, latents: Tensor, edited: Tensor) -> AfterStep:
    """Return the function that restores the picture outside the mask after a step, at the latents' noise level (algorithm 1).

    latents: (1, channels, height, width) of the picture. edited: (1, 1, height, width).
    """
    return lambda drawn, noise, level: torch.where(edited, drawn, base.noise.noisy(latents, noise, level))
