"""Teaching the transformer: it learns the velocities that the trained generator predicts, from the same prompts (Hinton et al. 2015).

The velocity towards one training picture depends mostly on which picture it happens to be. The generator predicts the mean over all pictures that
fit the prompt, so the effect of the prompt is learned from far fewer samples.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPTokenizer

from tasks.diffusion.base_model import BaseModel, TextEncoder
from tasks.diffusion.noise.ddpm import Denoising
from tasks.diffusion.words import encode_tokens, extend_tokenizer, spliced, token_ids, unconditional
from tasks.inversion.encoder import PictureEncoder
from tasks.pretraining.denoiser import TEXT_WIDTH, draw_timesteps
from tasks.pretraining.world import UNNAMED

MOST_NOISE = 0.9
"""The sigma above which the training pictures teach. The generator predicts noise, which says little of the picture in almost pure noise."""
GUIDANCE = 4.0
"""The scale of classifier-free guidance that the guided velocity is taught with, the one that the catalog draws with."""
BLUR = 0.2
"""Noise on the words of pictures, as a share of the norm, so that near words draw the same."""


def taught_velocity(teacher: BaseModel, noisy_latents: Tensor, sigmas: Tensor, condition: Any) -> Tensor:
    """Return the velocity (batch, channels, height, width) that a generator which predicts noise stands for on a straight line.

    noisy_latents: (batch, channels, height, width), (1 - sigma) z + sigma eps. sigmas: (batch,), below 1. The generator is asked at the timestep of
    the same ratio of signal to noise, between two of its own where there is none.
    """
    process, level = teacher.noise, sigmas.view(-1, 1, 1, 1)
    assert isinstance(process, Denoising)
    ratios = (process.scheduler.alphas_cumprod / (1 - process.scheduler.alphas_cumprod)).log().flip(0).double().numpy()
    wanted = 2 * ((1 - sigmas) / sigmas).double().log().cpu().numpy()
    timesteps = torch.from_numpy(np.interp(wanted, ratios, np.arange(len(ratios))[::-1])).float().to(sigmas.device)
    epsilon = teacher.denoise(noisy_latents / ((1 - level).square() + level.square()).sqrt(), timesteps, condition)
    return (epsilon - noisy_latents) / (1 - level)


def words_of_pictures(encoder: PictureEncoder, latents: Tensor, generator: torch.Generator) -> Tensor:
    """Return a word (n, dim) of each picture's latents (n, channels, height, width). Half of them lie on the way to the word of another picture."""
    count, device = len(latents), latents.device
    words = encoder(latents)
    norms = words.norm(dim=1, keepdim=True)
    shares = torch.rand(count, 1, generator=generator, device=device) * (torch.rand(count, 1, generator=generator, device=device) < 0.5)
    words = words.lerp(words[torch.randperm(count, generator=generator, device=device)], shares)
    blur = BLUR * norms * torch.randn(words.shape, generator=generator, device=device) / words.shape[1] ** 0.5
    return norms * F.normalize(words, dim=1) + blur


def taught_loss(
    teacher: BaseModel,
    encoder: PictureEncoder,
    posteriors: Tensor,
    captions: Sequence[str],
    unnamed: int,
    tokenizer: CLIPTokenizer,
    batch: int = 64,
) -> Callable[[Any, np.random.Generator, torch.Generator], Tensor]:
    """Return the loss of a student beside the teacher, on cached posteriors (n, 8, 16, 16) of the teacher's autoencoder.

    It sums the squared errors of three velocities of each noisy picture: with its prompt, without one, and guided. The guided one is what a sampler
    follows. Guidance multiplies the difference that a prompt makes, and its error too, so the first two alone leave what the prompt says blurred. The
    weights 1/2, 1/10 and 1/8 were not tuned.

    unnamed: the number of the last posteriors whose captions say `UNNAMED`; they make half of every batch, with a word that the encoder makes.
    tokenizer: the student's, with the teacher's words first, so that a word has the same embedding in both.
    """
    named, factor, empty = len(posteriors) - unnamed, teacher.vae.config.scaling_factor, unconditional(teacher).repeat(batch)
    teacher_ids = token_ids(teacher, captions, {UNNAMED: 1})
    own_ids = extend_tokenizer(tokenizer, {UNNAMED: 1})([*captions, ""], padding="max_length", truncation=True, return_tensors="pt").input_ids

    def loss(model: Any, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
        device, shown = generator.device, batch // 2 if unnamed else 0
        rows = torch.from_numpy(np.concatenate([rng.integers(named, size=batch - shown), named + rng.integers(max(unnamed, 1), size=shown)]))
        mean, std = posteriors[rows].to(device).float().chunk(2, dim=1)
        latents = factor * (mean + std * torch.randn(mean.shape, generator=generator, device=device))
        noise = torch.randn(latents.shape, generator=generator, device=device)
        steps, shuffled = model.noise_scheduler.config.num_train_timesteps, torch.randperm(batch, generator=generator, device=device)
        sigmas = (draw_timesteps(batch, steps, generator, model.centre)[shuffled] + torch.rand(batch, generator=generator, device=device)) / steps
        level = sigmas.view(-1, 1, 1, 1)
        noisy_latents, taught = (1 - level) * latents + level * noise, level < MOST_NOISE
        words = words_of_pictures(encoder, factor * mean[batch - shown :], generator) if shown else torch.zeros(1, TEXT_WIDTH, device=device)
        with torch.no_grad():
            prompts = encode_tokens(teacher, apart(teacher_ids[rows], len(teacher.tokenizer), shown), words)
            told = [taught_velocity(teacher, noisy_latents, sigmas.clamp(max=MOST_NOISE), condition) for condition in (prompts, empty)]
            targets = torch.cat([torch.where(taught, velocity, noise - latents) for velocity in told])
        ids = torch.cat([apart(own_ids[rows], len(tokenizer), shown), own_ids[-1:].expand(batch, -1)]).to(device)
        with spliced(TextEncoder(tokenizer, model.text_encoder), words):
            predictions = model(noisy_latents.repeat(2, 1, 1, 1), steps * sigmas.repeat(2), ids).float()
        prompted, unprompted = (predictions - targets).chunk(2)
        guided = torch.where(taught, unprompted + GUIDANCE * (prompted - unprompted), 0)
        return 0.5 * prompted.square().mean() + 0.1 * unprompted.square().mean() + guided.square().mean() / (2 * GUIDANCE)

    return loss


def apart(ids: Tensor, first: int, shown: int) -> Tensor:
    """Return the token ids of a batch in which the word with the id `first` is a word of its own in each of the last `shown` rows."""
    numbers = (torch.arange(len(ids)) - (len(ids) - shown)).clamp(min=0)
    return torch.where(ids == first, first + numbers.view(-1, *[1] * (ids.ndim - 1)), ids)
