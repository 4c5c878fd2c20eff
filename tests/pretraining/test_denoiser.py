import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTokenizer

from tasks.pretraining.denoiser import (
    TEXT_WIDTH,
    PortraitEncoder,
    TextToLatents,
    build_noise_scheduler,
    build_text_encoder,
    build_unet,
    denoising_loss,
)
from tasks.pretraining.scorer import scorer_config

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(ROOT / "data/base/emoji-ldm/tokenizer")


def test_the_shipped_models_are_of_the_design_that_is_trained(tokenizer: CLIPTokenizer) -> None:
    build_unet().load_state_dict(load_file(ROOT / "data/base/emoji-ldm/unet/diffusion_pytorch_model.safetensors"))
    shipped = json.loads((ROOT / "data/base/emoji-clip/open_clip_config.json").read_text(encoding="utf-8"))
    assert shipped["model_cfg"] == scorer_config(len(tokenizer))


def model_of(tokenizer: CLIPTokenizer, **noise: object) -> TextToLatents:
    torch.manual_seed(0)
    return TextToLatents(build_text_encoder(tokenizer), build_unet(), build_noise_scheduler(**noise))


def gradients(tokenizer: CLIPTokenizer, captions: list[str], portraits: np.ndarray, **noise: object) -> tuple[TextToLatents, float]:
    posteriors = torch.randn(len(captions), 8, 16, 16, generator=torch.Generator().manual_seed(0)).abs()
    model = model_of(tokenizer, **noise)
    value = denoising_loss(posteriors, captions, portraits, 1.0, tokenizer, batch=4)(
        model, np.random.default_rng(0), torch.Generator().manual_seed(0)
    )
    value.backward()
    return model, float(value.detach())


def moved(gradient: Tensor | None) -> bool:
    return gradient is not None and bool(gradient.abs().sum() > 0)


def test_words_of_portraits_have_the_norm_of_the_vocabulary() -> None:
    words = PortraitEncoder()(torch.rand(3, 3, 32, 32) * 2 - 1, torch.tensor(0.5))
    assert words.shape == (3, TEXT_WIDTH)
    torch.testing.assert_close(words.norm(dim=1), torch.full((3,), 0.5))


def test_portraits_learn_with_the_denoiser(tokenizer: CLIPTokenizer) -> None:
    portraits = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    model, _ = gradients(tokenizer, ["a photo of a cat", "a photo of a <it>", "two <it> on the moon"], portraits)
    assert all(moved(parameter.grad) for parameter in (model.portrait_encoder.layers[0].weight, model.unet.conv_in.weight))


@pytest.mark.parametrize("noise", [{}, {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}])
def test_without_portraits_the_denoiser_learns_alone(tokenizer: CLIPTokenizer, noise: dict[str, object]) -> None:
    model, value = gradients(tokenizer, ["a photo of a cat", "a cat"], np.empty((0, 32, 32, 3), np.uint8), **noise)
    assert np.isfinite(value) and moved(model.unet.conv_in.weight.grad)
    assert not moved(model.portrait_encoder.layers[0].weight.grad)
