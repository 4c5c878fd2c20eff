"""The noise of denoising diffusion (Ho et al. 2020), which DDIM removes (Song et al. 2021); a model predicts the noise or v."""

from dataclasses import dataclass
from typing import ClassVar

from diffusers import DDIMScheduler
from torch import Tensor

from tasks.diffusion.noise.step import Step


def add_noise(latents: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """Return noisy latents sqrt(alpha_bar) z + sqrt(1 - alpha_bar) eps; `alpha_bar` broadcasts."""
    return alpha_bar.sqrt() * latents + (1 - alpha_bar).sqrt() * noise


def target(latents: Tensor, noise: Tensor, alpha_bar: Tensor, prediction_type: str) -> Tensor:
    """Return what the denoiser should predict.

    Raises:
        ValueError: the base model predicts neither epsilon nor v.
    """
    if prediction_type == "epsilon":
        return noise
    if prediction_type == "v_prediction":  # Salimans & Ho 2022
        return alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * latents
    raise ValueError(f"prediction_type {prediction_type!r} of the base model is not supported; use a model that predicts epsilon or v_prediction")


def to_epsilon(prediction: Tensor, noisy_latents: Tensor, alpha_bar: Tensor, prediction_type: str) -> Tensor:
    """Return the noise that a prediction stands for."""
    if prediction_type == "v_prediction":
        return alpha_bar.sqrt() * prediction + (1 - alpha_bar).sqrt() * noisy_latents
    return prediction


def to_clean(prediction: Tensor, noisy_latents: Tensor, alpha_bar: Tensor, prediction_type: str) -> Tensor:
    """Return the latents without noise that a prediction stands for. Where `alpha_bar` is 0, v determines them and epsilon does not."""
    if prediction_type == "v_prediction":
        return alpha_bar.sqrt() * noisy_latents - (1 - alpha_bar).sqrt() * prediction
    return (noisy_latents - (1 - alpha_bar).sqrt() * prediction) / alpha_bar.sqrt()


def ddim_step(x_t: Tensor, prediction: Tensor, alpha_bar_t: Tensor, alpha_bar_prev: Tensor, prediction_type: str = "epsilon") -> Tensor:
    """One deterministic DDIM step (Song et al. 2021, eq. 12 with sigma = 0).

    x_t, prediction: (batch, channels, height, width) latents. Returns x_{t-1}, same shape.
    """
    x_0 = to_clean(prediction, x_t, alpha_bar_t, prediction_type)
    return add_noise(x_0, to_epsilon(prediction, x_t, alpha_bar_t, prediction_type), alpha_bar_prev)


def step_back(x_prev: Tensor, prediction: Tensor, alpha_bar_t: Tensor, alpha_bar_prev: Tensor, prediction_type: str) -> Tensor:
    """Return the x_t from which `ddim_step` with this prediction leads to `x_prev`; with v also where `alpha_bar_t` is 0."""
    if prediction_type == "v_prediction":  # a step is a turn by an angle (Salimans & Ho 2022, appendix D)
        cosine = (alpha_bar_t * alpha_bar_prev).sqrt() + ((1 - alpha_bar_t) * (1 - alpha_bar_prev)).sqrt()
        sine = (alpha_bar_prev * (1 - alpha_bar_t)).sqrt() - (alpha_bar_t * (1 - alpha_bar_prev)).sqrt()
        return (x_prev + sine * prediction) / cosine
    return ddim_step(x_prev, prediction, alpha_bar_prev, alpha_bar_t)


@dataclass(frozen=True)
class Denoising:
    """The noise process of a model with a schedule of alpha_bar. The level of noise is alpha_bar: 1 is no noise."""

    scheduler: DDIMScheduler
    sampler: ClassVar[str] = "DDIM"

    @property
    def num_train_timesteps(self) -> int:
        return self.scheduler.config.num_train_timesteps

    @property
    def prediction_type(self) -> str:
        return self.scheduler.config.prediction_type

    def timesteps(self, shares: Tensor) -> Tensor:
        """Return the timesteps below which these shares of the training lie; all are equally likely."""
        return (shares * self.num_train_timesteps).long().clamp(max=self.num_train_timesteps - 1)

    def level(self, timesteps: Tensor) -> Tensor:
        """Return alpha_bar at timesteps (batch,), so that it broadcasts over latents."""
        return self.scheduler.alphas_cumprod.to(timesteps.device)[timesteps].view(-1, 1, 1, 1)

    def noisy(self, latents: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        return add_noise(latents, noise, level)

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        return add_noise(latents, noise, self.level(timesteps))

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        return target(latents, noise, self.level(timesteps), self.prediction_type)

    def steps(self, num_inference_steps: int) -> list[Step]:
        """Return the steps of DDIM, from noise to picture."""
        self.scheduler.set_timesteps(num_inference_steps)
        alphas, stride = self.scheduler.alphas_cumprod, self.num_train_timesteps // num_inference_steps
        last = self.scheduler.final_alpha_cumprod
        return [Step(t, alphas[t], alphas[t - stride] if t >= stride else last) for t in self.scheduler.timesteps.tolist()]

    def clean(self, latents: Tensor, prediction: Tensor, step: Step) -> Tensor:
        """Return the latents without noise that a prediction before a step stands for."""
        return to_clean(prediction, latents, step.before, self.prediction_type)

    def step(self, latents: Tensor, prediction: Tensor, step: Step) -> Tensor:
        return ddim_step(latents, prediction, step.before, step.after, self.prediction_type)

    def step_back(self, latents: Tensor, prediction: Tensor, step: Step) -> Tensor:
        return step_back(latents, prediction, step.before, step.after, self.prediction_type)
