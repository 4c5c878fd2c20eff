"""The objective against diffusers' scheduler."""

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from tasks.diffusion.base_model import BaseModel
from tasks.diffusion.noise.ddpm import add_noise, target, to_clean, to_epsilon

TIMESTEPS = torch.tensor([0, 1, 250, 500, 999])


@pytest.fixture
def noise_scheduler(base: BaseModel) -> DDIMScheduler:
    return base.noise_scheduler


@pytest.fixture
def latents() -> Tensor:
    return torch.randn(5, 4, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def noise() -> Tensor:
    return torch.randn(5, 4, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def alpha_bar(noise_scheduler: DDIMScheduler) -> Tensor:
    return noise_scheduler.alphas_cumprod[TIMESTEPS].view(-1, 1, 1, 1)


def test_add_noise_is_the_schedulers(noise_scheduler: DDIMScheduler, latents: Tensor, noise: Tensor, alpha_bar: Tensor) -> None:
    torch.testing.assert_close(add_noise(latents, noise, alpha_bar), noise_scheduler.add_noise(latents, noise, TIMESTEPS))


def test_v_target_is_the_schedulers_velocity(noise_scheduler: DDIMScheduler, latents: Tensor, noise: Tensor, alpha_bar: Tensor) -> None:
    torch.testing.assert_close(target(latents, noise, alpha_bar, "v_prediction"), noise_scheduler.get_velocity(latents, noise, TIMESTEPS))


def test_epsilon_target_is_the_noise(latents: Tensor, noise: Tensor, alpha_bar: Tensor) -> None:
    assert torch.equal(target(latents, noise, alpha_bar, "epsilon"), noise)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_to_epsilon_inverts_the_target(prediction_type: str, latents: Tensor, noise: Tensor, alpha_bar: Tensor) -> None:
    noisy_latents = add_noise(latents, noise, alpha_bar)
    found = to_epsilon(target(latents, noise, alpha_bar, prediction_type), noisy_latents, alpha_bar, prediction_type)
    torch.testing.assert_close(found, noise, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_to_clean_inverts_the_target(prediction_type: str, latents: Tensor, noise: Tensor, alpha_bar: Tensor) -> None:
    noisy_latents = add_noise(latents, noise, alpha_bar)
    found = to_clean(target(latents, noise, alpha_bar, prediction_type), noisy_latents, alpha_bar, prediction_type)
    torch.testing.assert_close(found, latents, atol=1e-4, rtol=1e-4)


def test_a_model_that_predicts_pictures_is_refused(latents: Tensor, noise: Tensor, alpha_bar: Tensor) -> None:
    with pytest.raises(ValueError, match="'sample' of the base model is not supported"):
        target(latents, noise, alpha_bar, "sample")
