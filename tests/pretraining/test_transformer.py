from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, ZImagePipeline
from diffusers.models.attention_processor import Attention
from transformers import CLIPTokenizer

from tasks.diffusion.base_model import load_base_model
from tasks.diffusion.ddim import generate
from tasks.diffusion.words import encode_prompts
from tasks.pretraining.transformer import (
    PROMPT_TOKENS,
    PromptsToVelocities,
    RealRotation,
    build_language_model,
    build_transformer,
    prompt_tokenizer,
    save_z_image,
    velocities,
)

ROOT = Path(__file__).parents[2]
GENERATOR = ROOT / "data/base/emoji-ldm"
PROMPTS = ["a photo of a cat on the moon", ""]


@pytest.fixture
def tokenizer() -> CLIPTokenizer:
    return prompt_tokenizer(CLIPTokenizer.from_pretrained(GENERATOR / "tokenizer"))


def untrained(tokenizer: CLIPTokenizer) -> PromptsToVelocities:
    torch.manual_seed(0)
    return PromptsToVelocities(build_language_model(tokenizer), build_transformer())


def test_a_batch_at_once_is_the_transformers_own_forward() -> None:
    torch.manual_seed(0)
    transformer = build_transformer()
    lengths = torch.tensor([3, 8, 24])
    latents, sigmas, hidden = torch.randn(3, 4, 16, 16), torch.rand(3), torch.randn(3, PROMPT_TOKENS, 192)
    prompts = [text[:length] for text, length in zip(hidden, lengths.tolist(), strict=True)]
    with torch.inference_mode():
        own = torch.stack(transformer(list(latents.unsqueeze(2).unbind(0)), 1 - sigmas, prompts, return_dict=False)[0]).squeeze(2)
        for module in transformer.modules():
            if isinstance(module, Attention):
                module.set_processor(RealRotation())
        at_once = velocities(transformer, latents, sigmas, hidden, torch.arange(PROMPT_TOKENS) < lengths[:, None])
    torch.testing.assert_close(at_once, -own)
    assert own.abs().mean() > 0.01


def test_the_written_folder_is_a_z_image_pipeline(tokenizer: CLIPTokenizer, tmp_path: Path) -> None:
    autoencoder = AutoencoderKL.from_pretrained(GENERATOR / "vae", torch_dtype=torch.float32)
    save_z_image(untrained(tokenizer), autoencoder, tokenizer, tmp_path)
    base = load_base_model.__wrapped__(str(tmp_path), None, "cpu", 64)
    pipeline = ZImagePipeline.from_pretrained(tmp_path, torch_dtype=torch.float32)
    ours, (theirs, _) = encode_prompts(base, PROMPTS), pipeline.encode_prompt(list(PROMPTS), do_classifier_free_guidance=False)
    for hidden, length, expected in zip(ours.hidden, ours.lengths.tolist(), theirs, strict=True):
        torch.testing.assert_close(hidden[:length], expected)
    (drawn,) = generate(base, PROMPTS[:1], [7], {}, 3, 4.0, 1)
    (plain,) = pipeline(
        PROMPTS[0], 64, 64, num_inference_steps=3, guidance_scale=3.0, latents=torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(7))
    ).images
    assert np.abs(np.asarray(drawn).astype(int) - np.asarray(plain)).max() <= 2


def test_the_last_layer_of_the_language_model_changes_nothing(tokenizer: CLIPTokenizer) -> None:
    model, ids = build_language_model(tokenizer), torch.tensor([[5, 6, 7]])
    states = model(ids, output_hidden_states=True).hidden_states
    torch.testing.assert_close(states[-1], model.norm(states[-2]))
