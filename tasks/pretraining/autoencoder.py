"""The autoencoder of the embedded model: 64 px pictures to 16 x 16 x 4 latents."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from tasks.pretraining.training import batches, train

SCALE = 4  # px of a picture for each of its latents
CROP = 32  # the autoencoder is local: crops cost a quarter and teach as much


def build_autoencoder() -> AutoencoderKL:
    return AutoencoderKL(
        sample_size=64,
        block_out_channels=(16, 32, 96),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        norm_num_groups=8,
        latent_channels=4,
        mid_block_add_attention=False,
    )


def to_tensor(pictures: np.ndarray) -> Tensor:
    """(n, height, width, 3) uint8 -> (n, 3, height, width) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def edges(pictures: Tensor) -> tuple[Tensor, Tensor]:
    return pictures[..., 1:, :] - pictures[..., :-1, :], pictures[..., 1:] - pictures[..., :-1]


def train_autoencoder(pictures: np.ndarray, folder: Path, max_train_steps: int, batch: int = 32, peak: float = 2e-3) -> AutoencoderKL:
    """Train on crops of composites with L1, an edge loss and a light KL; `pictures` is (n, 64, 64, 3) uint8."""

    def loss(model: Any, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
        tops, lefts = rng.integers(0, pictures.shape[1] - CROP + 1, (2, batch))
        target = crops(pictures, rng.integers(len(pictures), size=batch), tops, lefts).to(generator.device)
        posterior = model.encode(target).latent_dist
        kl = posterior.kl().mean() / posterior.mean[0].numel()
        return reconstruction_loss(model.decode(posterior.sample(generator)).sample, target) + 1e-4 * kl

    return train("autoencoder", build_autoencoder(), loss, folder, max_train_steps, peak)


def train_decoder(
    autoencoder: AutoencoderKL, pictures: np.ndarray, folder: Path, max_train_steps: int, batch: int = 32, peak: float = 1e-3
) -> AutoencoderKL:
    """Train only the decoder of an autoencoder further; the latents do not change, so a denoiser of them stays valid.

    The crops lie on the grid of the latents, as the blocks of pixel art do, so that the decoder can learn that grid.
    """
    for part in (autoencoder.encoder, autoencoder.quant_conv):
        part.requires_grad_(False)

    def loss(model: Any, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
        tops, lefts = SCALE * rng.integers(0, (pictures.shape[1] - CROP) // SCALE + 1, (2, batch))
        target = crops(pictures, rng.integers(len(pictures), size=batch), tops, lefts).to(generator.device)
        with torch.no_grad():
            latents = model.encode(target).latent_dist.sample(generator)
        return reconstruction_loss(model.decode(latents).sample, target)

    return train("decoder", autoencoder, loss, folder, max_train_steps, peak)


def crops(pictures: np.ndarray, rows: np.ndarray, tops: np.ndarray, lefts: np.ndarray) -> Tensor:
    """Cut a square of `CROP` px out of each row's picture: (n, 3, CROP, CROP) in [-1, 1]."""
    return to_tensor(np.stack([pictures[row, top : top + CROP, left : left + CROP] for row, top, left in zip(rows, tops, lefts, strict=True)]))


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    edge = sum((ours - theirs).abs().mean() for ours, theirs in zip(edges(output), edges(target), strict=True))
    return F.l1_loss(output, target) + F.mse_loss(output, target) + edge


@torch.inference_mode()
def encode(autoencoder: AutoencoderKL, pictures: np.ndarray, batch: int = 64) -> Tensor:
    """Return posterior means and standard deviations: (n, 8, 16, 16) float16, unscaled."""
    device = next(autoencoder.parameters()).device
    parts = []
    for rows in batches(len(pictures), batch):
        posterior = autoencoder.encode(to_tensor(pictures[rows]).to(device)).latent_dist
        parts.append(torch.cat([posterior.mean, posterior.std], dim=1).half().cpu())
    return torch.cat(parts)


@torch.inference_mode()
def psnr(autoencoder: AutoencoderKL, pictures: np.ndarray, batch: int = 64) -> float:
    """Peak signal-to-noise ratio in dB of decode(encode(x)), from the mean squared error over all pictures."""
    device, total = next(autoencoder.parameters()).device, 0.0
    for rows in batches(len(pictures), batch):
        target = to_tensor(pictures[rows]).to(device)
        output = autoencoder.decode(autoencoder.encode(target).latent_dist.mode()).sample.clamp(-1, 1)
        total += float(F.mse_loss(output, target)) * len(target)
    return float(10 * np.log10(4 / (total / len(pictures))))
