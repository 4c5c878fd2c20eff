from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor
from transformers import CLIPTokenizer

from tasks.diffusion.base_model import BaseModel, load_base_model
from tasks.diffusion.families.parts import Condition
from tasks.diffusion.noise.ddpm import add_noise, to_clean
from tasks.diffusion.words import encode_prompts
from tasks.inversion.encoder import load_encoder
from tasks.pretraining import teaching
from tasks.pretraining.teaching import apart, taught_loss, taught_velocity, words_of_pictures
from tasks.pretraining.transformer import PromptsToVelocities, RealRotation, build_language_model, build_transformer, prompt_tokenizer

GENERATOR = Path(__file__).parents[2] / "data/base/emoji-ldm"
CAPTIONS = ["a photo of a cat", "a cat on the moon", "a photo of a <it>", "two <it> on the moon"]


@pytest.fixture(scope="module")
def teacher() -> BaseModel:
    return load_base_model(str(GENERATOR), None, "cpu", 64)


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(GENERATOR / "tokenizer")


def lesson(teacher: BaseModel, tokenizer: CLIPTokenizer) -> Callable[[Any], Tensor]:
    posteriors = torch.randn(len(CAPTIONS), 8, 16, 16, generator=torch.Generator().manual_seed(0)).abs()
    loss = taught_loss(teacher, load_encoder("emoji-encoder", teacher), posteriors, CAPTIONS, 2, tokenizer, batch=8)
    return lambda model: loss(model, np.random.default_rng(0), torch.Generator().manual_seed(0))


def test_the_velocity_ends_in_the_picture_that_the_generator_predicts(teacher: BaseModel) -> None:
    t, latents, noise = 400, torch.randn(1, 4, 16, 16), torch.randn(1, 4, 16, 16)
    alpha_bar, condition = teacher.noise.level(torch.tensor([t])), encode_prompts(teacher, CAPTIONS[:1])
    with torch.no_grad():
        noisy_latents = add_noise(latents, noise, alpha_bar)
        clean = to_clean(teacher.denoise(noisy_latents, t, condition), noisy_latents, alpha_bar, "epsilon")
        sigma = (1 - alpha_bar).sqrt() / (alpha_bar.sqrt() + (1 - alpha_bar).sqrt())
        on_the_line = (1 - sigma) * latents + sigma * noise
        velocity = taught_velocity(teacher, on_the_line, sigma.flatten(), condition)
    torch.testing.assert_close(on_the_line - sigma * velocity, clean, atol=1e-4, rtol=1e-4)


def student(teacher: BaseModel, attention: float = 1.0, prompted: float = 0.0, unprompted: float = 0.0) -> Any:
    """Return a student that knows what the teacher knows, pays less attention, or errs by the same amount everywhere with or without a prompt."""
    text_encoder = teacher.text_encoders[0].model

    class Student(SimpleNamespace):
        def __call__(self, noisy_latents: Tensor, timesteps: Tensor, input_ids: Tensor) -> Tensor:
            hidden = text_encoder(input_ids).last_hidden_state
            error = torch.tensor([prompted, unprompted]).repeat_interleave(len(noisy_latents) // 2).view(-1, 1, 1, 1)
            return taught_velocity(teacher, noisy_latents, timesteps / 1000, Condition(hidden * attention)) + error

    noise_scheduler = SimpleNamespace(config=SimpleNamespace(num_train_timesteps=1000))
    return Student(text_encoder=text_encoder, noise_scheduler=noise_scheduler, centre=0.0)


def test_a_student_that_knows_all_has_nothing_to_learn(teacher: BaseModel, tokenizer: CLIPTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teaching, "MOST_NOISE", 0.999)
    knowing, inattentive = (lesson(teacher, tokenizer)(student(teacher, attention=share)) for share in (1.0, 0.5))
    assert knowing < 1e-6 < 1e-3 < inattentive


def test_errors_count_as_much_as_guidance_makes_of_them(teacher: BaseModel, tokenizer: CLIPTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teaching, "MOST_NOISE", 0.999)
    same, opposite = (lesson(teacher, tokenizer)(student(teacher, prompted=0.1, unprompted=error)) for error in (0.1, -0.1))
    assert float(same) == pytest.approx(0.01 * (0.6 + 1 / 8), rel=1e-3)  # guided, the error stays what it was
    assert float(opposite) == pytest.approx(0.01 * (0.6 + 49 / 8), rel=1e-3)  # -0.1 + 4 * 0.2


def test_the_transformer_learns_and_the_words_stay(teacher: BaseModel, tokenizer: CLIPTokenizer) -> None:
    torch.manual_seed(0)
    own = prompt_tokenizer(CLIPTokenizer.from_pretrained(GENERATOR / "tokenizer"))
    model = PromptsToVelocities(build_language_model(own), build_transformer())
    model.text_encoder.embed_tokens.weight.requires_grad_(False)
    for module in model.transformer.modules():
        if isinstance(module, Attention):
            module.set_processor(RealRotation())
    lesson(teacher, own)(model).backward()
    learned = model.text_encoder.layers[0].mlp.up_proj.weight, model.transformer.layers[0].attention.to_q.weight
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in learned)
    assert model.text_encoder.embed_tokens.weight.grad is None
    assert all(parameter.grad is None for parameter in teacher.denoiser.parameters())


def test_words_of_pictures_lie_near_the_encoders(teacher: BaseModel) -> None:
    encoder, latents = load_encoder("emoji-encoder", teacher), torch.randn(64, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    words, own = words_of_pictures(encoder, latents, torch.Generator().manual_seed(0)), encoder(latents)
    near = torch.nn.functional.cosine_similarity(words, own)
    assert 16 < int((near > 0.95).sum()) < 64
    torch.testing.assert_close(words.norm(dim=1).mean() / own.norm(dim=1).mean(), torch.tensor(1.0), atol=0.05, rtol=0)


def test_each_unnamed_picture_has_a_word_of_its_own() -> None:
    ids = torch.tensor([[1, 2], [9, 2], [3, 9], [9, 9]])
    assert apart(ids, 9, 3).tolist() == [[1, 2], [9, 2], [3, 10], [11, 11]]
    assert torch.equal(apart(ids[:, None], 9, 3)[:, 0], apart(ids, 9, 3))
