"""The denoiser and its text encoder: a small latent diffusion model of the emoji world."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from tasks.diffusion.base_model import TextEncoder
from tasks.diffusion.noise.ddpm import Denoising
from tasks.diffusion.words import extend_tokenizer, spliced
from tasks.pretraining.autoencoder import to_tensor
from tasks.pretraining.sprites import PORTRAIT_SIZE
from tasks.pretraining.tokenizer import CONTEXT_LENGTH
from tasks.pretraining.training import train
from tasks.pretraining.world import UNNAMED

TEXT_WIDTH = 192
BATCH = 64


def build_text_encoder(tokenizer: CLIPTokenizer, num_hidden_layers: int = 2) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=2 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=num_hidden_layers,
            num_attention_heads=4,
            max_position_embeddings=CONTEXT_LENGTH,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


UNET: dict[str, Any] = {
    "sample_size": 16,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (32, 64, 128),
    # Attention only where the layout is decided: on CPUs at these sizes it costs far more time than its multiplications.
    "down_block_types": ("DownBlock2D",) * 3,
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "cross_attention_dim": TEXT_WIDTH,
    "attention_head_dim": 4,
    "norm_num_groups": 16,
    # The pooled prompt joins the timestep and scales every block, so that the noun reaches 16 x 16 too (Saharia et al. 2022).
    "addition_embed_type": "text",
    "addition_embed_type_num_heads": 4,
    "resnet_time_scale_shift": "scale_shift",
}


def build_unet(**changes: Any) -> UNet2DConditionModel:
    """Build the denoiser; an ablation changes some of `UNET`."""
    unet = UNet2DConditionModel(**UNET | changes)
    unet.set_attn_processor(AttnProcessor())  # the fused attention's backward is slower on CPUs at these sizes
    return unet


def build_noise_scheduler(**changes: Any) -> DDIMScheduler:
    """Build a schedule of linear betas that ends almost at pure noise, so that dark and bright scenes come out as prompted."""
    betas: dict[str, Any] = {"beta_start": 1e-4, "beta_end": 0.017, "beta_schedule": "linear"}
    return DDIMScheduler(**betas | changes, clip_sample=False, set_alpha_to_one=False, steps_offset=1)


class PortraitEncoder(nn.Module):
    """Makes the vector of a word from a portrait of its thing; used in training only and not shipped.

    Trained on nouns alone, the denoiser knows some hundred points of the space of word vectors, and the points between them draw blots. With
    words made from portraits it learns to draw from the whole space, in which a new word is searched for (compare Gal et al. 2023, E4T).
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, 48, 3, 2, 1), nn.SiLU(), nn.Conv2d(48, 96, 3, 2, 1), nn.SiLU(), nn.Conv2d(96, 192, 3, 2, 1), nn.SiLU()),
            *(nn.Flatten(), nn.Linear(192 * (PORTRAIT_SIZE // 8) ** 2, TEXT_WIDTH)),
        )

    def forward(self, portraits: Tensor, norm: Tensor) -> Tensor:
        """(n, 3, 32, 32) in [-1, 1] -> (n, dim) of the given norm."""
        return norm * nn.functional.normalize(self.layers(portraits), dim=1)


class TextToLatents(nn.Module):
    """The parts that are trained together, and the schedule of the noise that they learn to remove."""

    def __init__(self, text_encoder: CLIPTextModel, unet: UNet2DConditionModel, noise_scheduler: DDIMScheduler) -> None:
        super().__init__()
        self.text_encoder, self.unet, self.noise_scheduler = text_encoder, unet, noise_scheduler
        self.portrait_encoder, self.centre = PortraitEncoder(), -0.2

    def forward(self, noisy_latents: Tensor, timesteps: Tensor, input_ids: Tensor) -> Tensor:
        encoder_hidden_states = self.text_encoder(input_ids).last_hidden_state
        return self.unet(noisy_latents, timesteps, encoder_hidden_states).sample


def draw_timesteps(batch: int, num_train_timesteps: int, generator: torch.Generator, centre: float = -0.2) -> Tensor:
    """Draw a quarter of the timesteps evenly and the rest logit-normally around `centre` (Esser et al. 2024), where shapes are decided.

    Both parts are stratified, so that every batch covers its range and the gradient is steadier. Returns (batch,).
    """
    device, even = generator.device, batch // 4

    def strata(count: int) -> Tensor:
        return (torch.arange(count, device=device) + torch.rand(count, generator=generator, device=device)) / count

    shares = torch.cat([strata(even), torch.sigmoid(torch.special.ndtri(strata(batch - even).clamp(1e-6, 1 - 1e-6)) + centre)])
    return (shares * num_train_timesteps).long().clamp(max=num_train_timesteps - 1)


def noised(scheduler: DDIMScheduler, latents: Tensor, noise: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the noisy latents at timesteps (batch,), what the denoiser should predict there, and the weights (batch,) of its errors."""
    process = Denoising(scheduler)
    target = process.target(latents, noise, timesteps)
    noisy_latents = process.add_noise(latents, noise, timesteps)
    alpha_bar = process.level(timesteps).view(-1)
    snr = alpha_bar / (1 - alpha_bar)
    return noisy_latents, target, snr.clamp(max=5) / (snr + 1 if process.prediction_type == "v_prediction" else snr)


def denoising_loss(
    posteriors: Tensor,
    captions: Sequence[str],
    portraits: np.ndarray,
    scaling_factor: float,
    tokenizer: CLIPTokenizer,
    batch: int = BATCH,
    empty_share: float = 0.1,
    blur: float = 0.2,
) -> Callable[[nn.Module, np.random.Generator, torch.Generator], Tensor]:
    """Return the loss of what the model's scheduler says that it predicts, on cached posteriors (n, 8, 16, 16).

    Its errors have min-SNR-5 weights (Hang et al. 2023).

    portraits: (m, 32, 32, 3) uint8, for the last m posteriors, whose captions say `UNNAMED`. If there are any, they make half of every batch.
    blur: the noise on the words of portraits, as a share of the norm, so that near words draw the same.
    """
    extended, named_count = extend_tokenizer(tokenizer, {UNNAMED: 1}), len(posteriors) - len(portraits)
    tokens = extended(list(captions), padding="max_length", truncation=True, return_tensors="pt").input_ids
    empty = tokenizer("", padding="max_length", return_tensors="pt").input_ids

    def loss(model: Any, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
        device = generator.device
        unnamed = batch // 2 if len(portraits) else 0
        shown = rng.integers(len(portraits), size=unnamed) if unnamed else np.empty(0, int)
        rows = torch.from_numpy(np.concatenate([rng.integers(named_count, size=batch - unnamed), named_count + shown]))
        mean, std = posteriors[rows].to(device).float().chunk(2, dim=1)
        latents = scaling_factor * (mean + std * torch.randn(mean.shape, generator=generator, device=device))
        noise = torch.randn(latents.shape, generator=generator, device=device)
        timesteps = draw_timesteps(batch, model.noise_scheduler.config.num_train_timesteps, generator, model.centre)
        timesteps = timesteps[torch.randperm(batch, generator=generator, device=device)]
        noisy_latents, target, weights = noised(model.noise_scheduler, latents, noise, timesteps)
        unconditional = torch.from_numpy(rng.random(batch) < empty_share)[:, None]
        input_ids = torch.where(unconditional, empty, tokens[rows])
        # Each portrait is a word of its own, past the end of the vocabulary.
        word_ids = len(tokenizer) + (torch.arange(batch) - (batch - unnamed)).clamp(min=0)
        input_ids = torch.where(input_ids == len(tokenizer), word_ids[:, None], input_ids).to(device)
        norm = model.text_encoder.get_input_embeddings().weight.detach().norm(dim=1).mean()
        words = blur * norm * torch.randn(max(unnamed, 1), TEXT_WIDTH, generator=generator, device=device) / TEXT_WIDTH**0.5
        if unnamed:
            words = words + model.portrait_encoder(to_tensor(portraits[shown]).to(device), norm)
        with spliced(TextEncoder(tokenizer, model.text_encoder), words):
            prediction = model(noisy_latents.contiguous(memory_format=torch.channels_last), timesteps, input_ids).float()
        return ((prediction - target).square().mean((1, 2, 3)) * weights).mean()

    return loss


def train_denoiser(
    posteriors: Tensor,
    captions: Sequence[str],
    portraits: np.ndarray,
    scaling_factor: float,
    tokenizer: CLIPTokenizer,
    folder: Path,
    max_train_steps: int,
    model: TextToLatents | None = None,
    peak: float = 1e-3,
) -> TextToLatents:
    """Train `model`, or the shipped design, on cached posteriors (n, 8, 16, 16); the arguments are those of `denoising_loss`."""
    model = model or TextToLatents(build_text_encoder(tokenizer), build_unet(), build_noise_scheduler())
    model.unet.compile()  # a quarter faster on CPUs
    loss = denoising_loss(posteriors, captions, portraits, scaling_factor, tokenizer)
    return train("denoiser", model, loss, folder, max_train_steps, peak)  # type: ignore[return-value]


def save_pipeline(model: TextToLatents, autoencoder: AutoencoderKL, tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write a `StableDiffusionPipeline` folder in float16."""
    tokenizer.backend_tokenizer.no_padding()  # the padding of the last call would be written too
    pipeline = StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=model.text_encoder,
        tokenizer=tokenizer,
        unet=model.unet,
        scheduler=model.noise_scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(torch.float16).save_pretrained(folder)
