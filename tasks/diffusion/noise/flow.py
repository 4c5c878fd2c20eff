"""Rectified flow (Liu et al. 2022; Esser et al. 2024): noise is added on a straight line, and a model predicts the velocity along it."""

from dataclasses import dataclass

from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from tasks.diffusion.noise.step import Step


@dataclass(frozen=True)
class Flow:
    """The noise process of a model that was trained on straight lines. The level of noise is sigma: 0 is no noise, 1 is pure noise."""

    scheduler: FlowMatchEulerDiscreteScheduler

    @property
    def num_train_timesteps(self) -> int:
        return self.scheduler.config.num_train_timesteps

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
        self.scheduler.set_timesteps(num_inference_steps)
        sigmas = self.scheduler.sigmas
        return [Step(t, sigmas[index], sigmas[index + 1]) for index, t in enumerate(self.scheduler.timesteps.tolist())]

    def step(self, latents: Tensor, prediction: Tensor, step: Step) -> Tensor:
        return latents + (step.after - step.before) * prediction

    def step_back(self, latents: Tensor, prediction: Tensor, step: Step) -> Tensor:
        return latents - (step.after - step.before) * prediction
