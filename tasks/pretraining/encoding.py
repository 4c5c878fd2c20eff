"""Training an encoder of pictures for a frozen base model, on a domain: folders of pictures, one for each thing (E4T, Gal et al. 2023)."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tasks.concepts.captions import read_contexts
from tasks.diffusion.base_model import BaseModel
from tasks.diffusion.ddim import encode
from tasks.diffusion.objective import per_picture_loss
from tasks.diffusion.templates import OBJECT_TEMPLATES
from tasks.diffusion.words import encode_tokens
from tasks.inversion.data import caption_ids
from tasks.pictures.names import picture_files
from tasks.pictures.reading import UnusableError, read_picture
from tasks.pretraining.denoiser import draw_timesteps

WORD = "<thing>"
MOST_SOURCES = 3  # pictures from which one word is made in training
Domain = dict[str, Any]
"""means and stds (n, channels, height, width) of all pictures' latents, their contexts, and `ends`, the number of the picture after each thing's."""

logger = logging.getLogger(__name__)


def read_domain(folder: Path, base: BaseModel, min_side: int, max_pixels: int) -> Domain:
    """Encode a domain's pictures; `folder` has a folder for each thing, whose captions.yaml may say what else its pictures show.

    Raises:
        ValueError: the folder has no folders, one of them has no picture, or a file is no usable picture.
    """
    places = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if not places:
        raise ValueError(f"{folder} has no folders; a domain has a folder for each thing, with one or more pictures of it")
    means, stds, contexts, ends = list[Tensor](), list[Tensor](), list[str](), list[int]()
    for number, place in enumerate(places):
        files = picture_files(place)
        if not files:
            raise ValueError(f"{place} has no pictures; put one or more pictures of one thing there, or remove it")
        try:
            pictures = [read_picture(path, base.resolution, min_side, max_pixels).image for path in files.values()]
        except UnusableError as error:
            raise ValueError(f"{place} has a file that cannot be used: {error}; remove it") from error
        of_files, (mean, std) = read_contexts(place, files), encode(base, pictures)
        means.append(mean.cpu())
        stds.append(std.cpu())
        contexts += [of_files.get(file, "") for file in files]
        ends.append(len(contexts))
        if number % 500 == 0:
            logger.info("encoded %d of %d things", number, len(places))
    return {"means": torch.cat(means), "stds": torch.cat(stds), "contexts": contexts, "ends": ends}


def draw_pictures(rng: np.random.Generator, ends: np.ndarray, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the pictures of a batch: targets (batch,), and as sources (batch, 1 to 3) other pictures of the same things where there are others."""
    things, sources = rng.integers(len(ends), size=batch), int(rng.integers(1, MOST_SOURCES + 1))
    starts = np.concatenate([[0], ends[:-1]])
    sizes = ends - starts
    rows = [starts[thing] + rng.permutation(sizes[thing]) for thing in things]
    others = [row[1:] if len(row) > 1 else row for row in rows]
    return np.array([row[0] for row in rows]), np.stack([np.resize(other, sources) for other in others])


def encoder_loss(base: BaseModel, domain: Domain, batch: int) -> Callable[[nn.Module, np.random.Generator, torch.Generator], Tensor]:
    """Return the base model's denoising loss on a picture whose caption has the word that the encoder makes of other pictures of the thing.

    Half of the batches are mirrored, since a domain may be small.
    """
    different = sorted(set(domain["contexts"]))
    captions = caption_ids(base, [template.format(WORD) for template in OBJECT_TEMPLATES], different, {WORD: 1})
    of_pictures, ends = np.array([different.index(text) for text in domain["contexts"]]), np.array(domain["ends"])
    first_ids, process = base.first_ids.cpu(), base.noise

    def loss(encoder: Any, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
        device = generator.device
        targets, sources = draw_pictures(rng, ends, batch)
        means, stds, shown = (part.to(device) for part in (domain["means"][targets], domain["stds"][targets], domain["means"][sources]))
        latents = means + stds * torch.randn(means.shape, generator=generator, device=device)
        if rng.random() < 0.5:
            latents, shown = latents.flip(-1), shown.flip(-1)
        noise = torch.randn(latents.shape, generator=generator, device=device)
        timesteps = draw_timesteps(batch, process.num_train_timesteps, generator)[torch.randperm(batch, generator=generator, device=device)]
        ids = captions[of_pictures[targets], rng.integers(captions.shape[1], size=batch)]
        ids = torch.where(ids == first_ids, first_ids + torch.arange(batch)[:, None, None], ids)  # each thing is a word of its own
        prediction = base.denoise(process.add_noise(latents, noise, timesteps), timesteps, encode_tokens(base, ids, encoder.word(shown)))
        return per_picture_loss(prediction, process.target(latents, noise, timesteps)).mean()

    return loss
