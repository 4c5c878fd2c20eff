"""The transformer of the emoji world: a small Z-Image, which predicts the velocity of rectified flow and reads prompts through a language model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from transformers import CLIPTokenizer, Qwen3Config, Qwen3Model

from tasks.pretraining.denoiser import TEXT_WIDTH
from tasks.pretraining.muon import Muon
from tasks.pretraining.training import train

WIDTH, LAYERS, HEADS = 160, 6, 5
PROMPT_TOKENS = 32  # the transformer fills every prompt up to a multiple of 32
PADDING = "<|padding|>"
TEMPLATE = "{{ messages[0].content }}"  # the prompt alone: this language model has never seen a conversation


def prompt_tokenizer(tokenizer: CLIPTokenizer) -> CLIPTokenizer:
    """Return the emoji world's tokenizer as Z-Image wants it: with a padding token of its own and a chat template."""
    tokenizer.add_special_tokens({"pad_token": PADDING})
    tokenizer.chat_template, tokenizer.model_max_length = TEMPLATE, PROMPT_TOKENS
    return tokenizer


def build_language_model(tokenizer: CLIPTokenizer) -> Qwen3Model:
    """Build a language model of two layers. Z-Image reads the penultimate one, so the last does nothing, and its zeros take no space when packed."""
    sizes = {"hidden_size": TEXT_WIDTH, "intermediate_size": 2 * TEXT_WIDTH, "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 48}
    model = Qwen3Model(Qwen3Config(vocab_size=len(tokenizer), num_hidden_layers=2, pad_token_id=tokenizer.pad_token_id, **sizes))
    for parameter in model.layers[-1].parameters():
        parameter.data.zero_()
        parameter.requires_grad_(False)
    return model


def build_transformer() -> ZImageTransformer2DModel:
    return ZImageTransformer2DModel(
        in_channels=4,
        dim=WIDTH,
        n_layers=LAYERS,
        n_refiner_layers=1,
        n_heads=HEADS,
        n_kv_heads=HEADS,
        cap_feat_dim=TEXT_WIDTH,
        axes_dims=[8, 12, 12],  # of a head's 32: the place in the prompt, the row, the column
        axes_lens=[640, 32, 32],
    )


class RealRotation:
    """Z-Image's attention with the rotation of its positions written in real numbers: complex ones are not compiled, and are slow on CPUs."""

    def __call__(self, attn: Attention, hidden_states: Tensor, *, freqs_cis: tuple[Tensor, Tensor], **unused: Any) -> Tensor:
        cosine, sine = freqs_cis

        def turned(heads: Tensor) -> Tensor:
            real, imaginary = heads[..., 0::2], heads[..., 1::2]
            return torch.stack([real * cosine - imaginary * sine, real * sine + imaginary * cosine], dim=-1).flatten(-2)

        query, key, value = (layer(hidden_states).unflatten(-1, (attn.heads, -1)) for layer in (attn.to_q, attn.to_k, attn.to_v))
        query, key, value = (part.transpose(1, 2) for part in (turned(attn.norm_q(query)), turned(attn.norm_k(key)), value))
        mixed = F.scaled_dot_product_attention(query, key, value)
        return attn.to_out[0](mixed.transpose(1, 2).flatten(2))


class PromptsToVelocities(nn.Module):
    """The parts that are trained together, and the scheduler of the noise that they learn to remove."""

    def __init__(self, text_encoder: Qwen3Model, transformer: ZImageTransformer2DModel) -> None:
        super().__init__()
        self.text_encoder, self.transformer = text_encoder, transformer
        # Most timesteps have a sigma around 0.33: this small transformer errs most at low noise, where details tell things apart.
        self.noise_scheduler, self.centre = FlowMatchEulerDiscreteScheduler(), -0.7

    def forward(self, noisy_latents: Tensor, timesteps: Tensor, input_ids: Tensor) -> Tensor:
        present = input_ids != self.text_encoder.config.pad_token_id
        hidden = self.text_encoder(input_ids, attention_mask=present, output_hidden_states=True).hidden_states[-2]
        return velocities(self.transformer, noisy_latents, timesteps / self.noise_scheduler.config.num_train_timesteps, hidden, present)


def velocities(transformer: Any, latents: Tensor, sigmas: Tensor, hidden: Tensor, present: Tensor) -> Tensor:
    """Return what the transformer's own forward returns, negated, for a whole batch at once; that one takes pictures and prompts one by one.

    latents: (batch, channels, height, width). hidden: (batch, `PROMPT_TOKENS`, dim), with `present` (batch, `PROMPT_TOKENS`) false in the padding.
    """
    batch, channels, height, width = latents.shape
    rows, columns = height // 2, width // 2
    time = transformer.t_embedder((1 - sigmas) * transformer.t_scale)
    of_picture, of_prompt, of_both = rotations(transformer, rows, columns)
    patches = latents.reshape(batch, channels, rows, 2, columns, 2).permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * columns, 4 * channels)
    picture = transformer.all_x_embedder["2-1"](patches)
    for layer in transformer.noise_refiner:
        picture = layer(picture, None, of_picture, time)
    prompt = torch.where(present[..., None], transformer.cap_embedder(hidden), transformer.cap_pad_token)
    for layer in transformer.context_refiner:
        prompt = layer(prompt, None, of_prompt)
    both = torch.cat([picture, prompt], dim=1)
    for layer in transformer.layers:
        both = layer(both, None, of_both, time)
    out = transformer.all_final_layer["2-1"](both[:, : rows * columns], c=time)
    return -out.view(batch, rows, columns, 2, 2, channels).permute(0, 5, 1, 3, 2, 4).reshape(latents.shape)


def rotations(transformer: Any, rows: int, columns: int) -> list[tuple[Tensor, Tensor]]:
    """Return cosines and sines of the positions of a picture's patches, of a prompt's tokens, and of both."""
    prompt = torch.tensor([[place, 0, 0] for place in range(1, PROMPT_TOKENS + 1)])
    picture = torch.tensor([[PROMPT_TOKENS + 1, row, column] for row in range(rows) for column in range(columns)])
    device = transformer.cap_pad_token.device
    both = transformer.rope_embedder(torch.cat([picture, prompt]).to(device))[:, None]
    cosine_and_sine = both.real.contiguous(), both.imag.contiguous()
    picture_part, prompt_part = (tuple(part[kept] for part in cosine_and_sine) for kept in (slice(len(picture)), slice(len(picture), None)))
    return [picture_part, prompt_part, cosine_and_sine]


def train_transformer(
    loss: Callable[[Any, np.random.Generator, torch.Generator], Tensor],
    vocabulary: Tensor,
    tokenizer: CLIPTokenizer,
    folder: Path,
    max_train_steps: int,
    peak: float = 3e-3,
) -> PromptsToVelocities:
    """Train the transformer and its language model, whose first words keep the embeddings of `vocabulary` (words, dim)."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = PromptsToVelocities(build_language_model(tokenizer), build_transformer())
    table = model.text_encoder.embed_tokens.weight.requires_grad_(False)
    table[: len(vocabulary)] = vocabulary
    for module in model.transformer.modules():
        if isinstance(module, Attention):
            module.set_processor(RealRotation())
    model.transformer.compile_repeated_blocks()  # a quarter faster on CPUs
    return train("transformer", model, loss, folder, max_train_steps, peak, optimizer=Muon)  # type: ignore[return-value]


def save_z_image(model: PromptsToVelocities, autoencoder: AutoencoderKL, tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write a `ZImagePipeline` folder in float16."""
    tokenizer.backend_tokenizer.no_padding()  # the padding of the last call would be written too
    autoencoder.register_to_config(shift_factor=0.0)
    pipeline = ZImagePipeline(model.noise_scheduler, autoencoder, model.text_encoder, tokenizer, model.transformer)
    pipeline.to(torch.float16).save_pretrained(folder)
