"""Applying words to a user's own pictures: edits inside a mask, and the same picture under another prompt."""

from collections.abc import Iterator, Sequence
from math import inf, log10
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from tasks.diffusion.base_model import load_base_model
from tasks.diffusion.ddim import ddim_sample, decode, encode
from tasks.diffusion.ddim_inversion import ddim_invert
from tasks.diffusion.editing import blended, inside
from tasks.diffusion.words import encode_prompts, unconditional
from tasks.pictures.reading import Picture, UnusableError, read_picture
from tasks.settings import Settings
from tasks.using.champions import champions, words_in


def edit_picture(
    picture: Path, mask: Path, prompt: str, seeds: Sequence[int], settings: Settings, any_base: bool = False, negative: str = ""
) -> Iterator[Image.Image]:
    """Yield a picture for each seed, with a prompt drawn inside the mask by the champions of its words.

    picture: its central square is resized to the model's resolution. mask: as large as the picture, white where the picture is edited.

    Raises:
        ValueError: a file is not a usable picture, the mask has another size or nothing white, or see `champions`.
    """
    base = load_base_model(*settings.base_model)
    original, drawn_mask = (read_square(path, base.resolution, settings) for path in (picture, mask))
    if drawn_mask.transform.size != original.transform.size:
        sizes = ["{} x {}".format(*read.transform.size) for read in (drawn_mask, original)]
        raise ValueError(f"mask {mask} has {sizes[0]} px, {picture} has {sizes[1]}; draw the mask over the picture itself")
    if not inside(drawn_mask.image).getbbox():
        raise ValueError(f"mask {mask} has nothing white in its central square; paint white what is to be edited")
    with champions(words_in(f"{prompt} {negative}"), base, settings, any_base) as learned:
        look = (*settings.sample.look(base.look), settings.runtime.pictures_per_batch, negative)
        yield from blended(base, original.image, drawn_mask.image, prompt, seeds, learned, *look)


class Reimagined(NamedTuple):
    """A picture under another prompt, and how well the picture itself was reconstructed."""

    reconstruction: Image.Image
    pictures: list[Image.Image]
    """One for each guidance scale."""
    psnr: float
    """PSNR of the reconstruction, in dB."""
    autoencoder_psnr: float
    """PSNR of the picture after encoding and decoding, in dB; no reconstruction exceeds it by much."""


def reimagine_picture(
    picture: Path, concept: str, prompt: str, guidance_scales: Sequence[float], settings: Settings, any_base: bool = False
) -> Reimagined:
    """Find the noise that draws a picture under "a photo of" its concept, and denoise it under another prompt (Gal et al. 2022, appendix A).

    picture: its central square is resized to the model's resolution.

    Raises:
        ValueError: the file is not a usable picture, there is no such concept, or see `champions`.
    """
    source = settings.prompts(concept)[0].format(settings.concept(concept).placeholder_token)
    base = load_base_model(*settings.base_model)
    original = read_square(picture, base.resolution, settings).image
    with champions(words_in(f"{source} {prompt}"), base, settings, any_base) as learned:
        conditions, empty, count = encode_prompts(base, [source, prompt], learned), unconditional(base), settings.sample.look(base.look)[0]
        described, wanted = conditions.rows([0]), conditions.rows([1])
        latents = encode(base, [original])[0]
        noise = ddim_invert(base, latents, described, count)
        denoised = [ddim_sample(base, noise, described, empty, count, 1.0)]
        denoised += [ddim_sample(base, noise, wanted, empty, count, guidance_scale) for guidance_scale in guidance_scales]
    autoencoded, reconstruction, *drawn = (decode(base, sample)[0] for sample in (latents, *denoised))
    return Reimagined(reconstruction, drawn, psnr(reconstruction, original), psnr(autoencoded, original))


def read_square(path: Path, resolution: int, settings: Settings) -> Picture:
    """Read the central square of a picture as the curate stage does.

    Raises:
        ValueError: there is no such file, or it is not a usable picture.
    """
    if not path.is_file():
        raise ValueError(f"{path} is not a file")
    try:
        return read_picture(path, resolution, settings.curate.min_side, settings.curate.max_pixels)
    except UnusableError as error:
        raise ValueError(f"{path} is not usable: {error}") from error


def psnr(one: Image.Image, other: Image.Image) -> float:
    """Return the peak signal-to-noise ratio of two RGB pictures in dB."""
    error = np.square(np.asarray(one, dtype=float) - np.asarray(other, dtype=float)).mean()
    return 10 * log10(255**2 / error) if error else inf
