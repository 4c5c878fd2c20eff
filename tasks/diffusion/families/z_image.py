"""Z-Image (Tongyi Lab 2025): a language model, Qwen3, as the text encoder, and a transformer of one stream for text and picture.

The diffusers pipeline counts guidance from 0: its scale is one less than that of classifier-free guidance here.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from tasks.diffusion.changes import TRANSFORMER
from tasks.diffusion.families.parts import Condition, Family, Look, TextPart, at_each, evenly

TOKENS = 512


def as_request(tokenizer: PreTrainedTokenizerBase, prompt: str) -> str:
    """Return a prompt as a user's message to the language model."""
    messages = [{"role": "user", "content": prompt}]
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, enable_thinking=True))


def encode(base: Any, ids: Sequence[Tensor]) -> Condition:
    """Return the penultimate layer of the language model, and how many tokens each prompt has without its padding."""
    (encoder,), (tokens,) = base.text_encoders, ids
    present = tokens != encoder.tokenizer.pad_token_id
    lengths = present.sum(dim=1).cpu()
    longest = int(lengths.max())  # a token reads those before it, so the padding need not go through the model
    texts = {"input_ids": tokens[:, :longest], "attention_mask": present[:, :longest]}
    hidden = encoder.model(**texts, output_hidden_states=True).hidden_states[-2]
    return Condition(F.pad(hidden, (0, 0, 0, tokens.shape[1] - longest)), lengths=lengths)


def denoise(base: Any, latents: Tensor, timesteps: Tensor | float, condition: Condition) -> Tensor:
    kind, last = base.denoiser.dtype, base.noise.num_train_timesteps
    assert condition.lengths is not None
    texts = [text[:length].to(kind) for text, length in zip(condition.hidden, condition.lengths.tolist(), strict=True)]
    pictures = list(latents.to(kind).unsqueeze(2).unbind(0))  # one frame each
    towards_the_picture = base.denoiser(pictures, (last - at_each(timesteps, latents)) / last, texts, return_dict=False)[0]
    return -torch.stack(towards_the_picture).squeeze(2).float()


FAMILY = Family(
    text_encoders=(TextPart("tokenizer", "text_encoder", "qwen3", lambda config: TOKENS, pieces=True, written=as_request),),
    encode=encode,
    denoise=denoise,
    architecture=lambda base: "z-image",
    look=lambda config: Look(50, 6.0),
    denoiser="transformer",
    reads=("qwen3",),
    patch=2,
    layers=TRANSFORMER,
    mixed="all_x_embedder|cap_embedder",
    sigmas=evenly,
)
