"""Noise processes: how noise comes into latents, what a denoiser is to predict, and how a sampler steps back. Families share them."""

from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler, SchedulerMixin

from tasks.diffusion.noise.ddpm import Denoising
from tasks.diffusion.noise.flow import Flow

NoiseProcess = Denoising | Flow


def noise_process(scheduler: SchedulerMixin) -> NoiseProcess:
    """Return the noise process of a model's scheduler."""
    return Flow(scheduler) if isinstance(scheduler, FlowMatchEulerDiscreteScheduler) else Denoising(scheduler)


def scheduler_for(scheduler: SchedulerMixin, model: str) -> SchedulerMixin:
    """Return the scheduler that a model is sampled with: its own of rectified flow, and DDIM with the settings of any other.

    Raises:
        ValueError: the noise ends at no signal at all, and the model predicts it.
    """
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        return scheduler
    if scheduler.config.get("rescale_betas_zero_snr") and scheduler.config.prediction_type == "epsilon":
        raise ValueError(f"{model} predicts epsilon at zero terminal SNR, where it tells nothing of the picture; use one that predicts v there")
    return DDIMScheduler.from_config(scheduler.config, clip_sample=False, thresholding=False)  # latents have no range
