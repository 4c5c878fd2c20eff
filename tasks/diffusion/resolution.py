"""The side of a base model's pictures and of their latents."""

from collections.abc import Mapping
from typing import Any

from tasks.diffusion.families.parts import Family


def pixels_per_latent(vae: Mapping[str, Any]) -> int:
    """Return the side in px of what one latent stands for. vae: the config of an autoencoder."""
    return 2 ** (len(vae["block_out_channels"]) - 1)


def latent_side(family: Family, denoiser: Mapping[str, Any], vae: Mapping[str, Any], resolution: int | None) -> int:
    """Return height and width of the latents of pictures of a resolution in px, by default the one that the model was trained on.

    Raises:
        ValueError: the configs name no resolution, or the denoiser cannot cut such pictures into its patches.
    """
    if resolution is None:
        # The transformers of FLUX.1 and Z-Image do not say it; their autoencoder does, in px.
        if not (denoiser.get("sample_size") or vae.get("sample_size")):
            raise ValueError("the configs of this base model do not say how large its pictures are; set base.resolution in px")
        return int(denoiser.get("sample_size") or vae["sample_size"] // pixels_per_latent(vae))
    if resolution % (unit := pixels_per_latent(vae) * family.patch):
        near = resolution // unit * unit or unit
        raise ValueError(f"base.resolution is {resolution} px, but this base model needs a multiple of {unit}; take {near}")
    side, most = resolution // pixels_per_latent(vae), denoiser.get("pos_embed_max_size")
    if most and side // family.patch > most:
        raise ValueError(f"base.resolution is {resolution} px, but this base model allows at most {most * unit}; lower it")
    return side
