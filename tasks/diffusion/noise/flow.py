"""Rectified flow (Liu et al. 2022; Esser et al. 2024): noise is added on a straight line, and a model predicts the velocity along it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp
from typing import ClassVar

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from tasks.diffusion.noise.step import Step


@dataclass(frozen=True)
class Flow:
    """The noise process of a model that was trained on straight lines. The level of noise is sigma: 0 is no noise, 1 is pure noise."""

    scheduler: FlowMatchEulerDiscreteScheduler
    tokens: int = 4096
    """Tokens of a picture, from which a scheduler with dynamic shifting takes its shift."""
    sigmas: Callable[[int], Sequence[float]] | None = None
    """Number of steps -> the noise levels before they are shifted; None: the scheduler's own."""

    sampler: ClassVar[str] = "Euler"

    @property
    def num_train_timesteps(self) -> int:
        return self.scheduler.config.num_train_timesteps

    @property
    def mu(self) -> float | None:
        """The shift's logarithm, on a line through its two known values (Esser et al. 2024, section 5.3.2); None where the shift is fixed."""
        config = self.scheduler.config
        if not config.use_dynamic_shifting:
            return None
        slope = (config.max_shift - config.base_shift) / (config.max_image_seq_len - config.base_image_seq_len)
        return config.base_shift + slope * (self.tokens - config.base_image_seq_len)

    @property
    def shift(self) -> float:
        """How much larger the odds of noise are made at every noise level."""
        if self.mu is None:
            return self.scheduler.config.shift
        return exp(self.mu) if self.scheduler.config.time_shift_type == "exponential" else self.mu

    def timesteps(self, shares: Tensor) -> Tensor:
        """Return the timesteps below which these shares of the training lie: logit-normal (Esser et al. 2024), then shifted as in sampling."""
        odds = self.shift * torch.special.ndtri(shares.double().clamp(1e-6, 1 - 1e-6)).exp()
        return (self.num_train_timesteps * odds / (1 + odds)).float()

    def level(self, timesteps: Tensor) -> Tensor:
        """Return sigma at timesteps (batch,), so that it broadcasts over latents."""
        return (timesteps / self.num_train_timesteps).view(-1, 1, 1, 1)

    def noisy(self, latents: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """Return (1 - sigma) z + sigma eps."""
        return (1 - level) * latents + level * noise

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        return self.noisy(latents, noise, self.level(timesteps))

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return the velocity eps - z, which is the same at all timesteps."""
        return noise - latents

    def steps(self, num_inference_steps: int) -> list[Step]:
        """Return Euler's steps over the scheduler's shifted sigmas, from noise to picture."""
        if self.sigmas:
            self.scheduler.set_timesteps(sigmas=self.sigmas(num_inference_steps), mu=self.mu)
        else:
            self.scheduler.set_timesteps(num_inference_steps, mu=self.mu)
        sigmas = self.scheduler.sigmas
        return [Step(t, sigmas[index], sigmas[index + 1]) for index, t in enumerate(self.scheduler.timesteps.tolist())]

    def clean(self, latents: Tensor, prediction: Tensor, step: Step) -> Tensor:
        """Return the latents without noise that a prediction before a step stands for."""
        return latents - step.before * prediction

    def step(self, latents: Tensor, prediction: Tensor, step: Step) -> Tensor:
        return latents + (step.after - step.before) * prediction

    def step_back(self, latents: Tensor, prediction: Tensor, step: Step) -> Tensor:
        return latents - (step.after - step.before) * prediction
