"""Noise processes, which families share: how noise is added to latents, what a denoiser predicts, and how a sampler steps."""

from collections.abc import Callable, Sequence

from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler, SchedulerMixin

from tasks.diffusion.noise.ddpm import Denoising
from tasks.diffusion.noise.flow import Flow

NoiseProcess = Denoising | Flow


def noise_process(scheduler: SchedulerMixin, tokens: int = 4096, sigmas: Callable[[int], Sequence[float]] | None = None) -> NoiseProcess:
    """Return the noise process of a model's scheduler; tokens, sigmas: as in `Flow`."""
    return Flow(scheduler, tokens, sigmas) if isinstance(scheduler, FlowMatchEulerDiscreteScheduler) else Denoising(scheduler)


def scheduler_for(scheduler: SchedulerMixin, model: str) -> SchedulerMixin:
    """Return the scheduler that a model is sampled with: its own for rectified flow, else DDIM with its settings.

    Raises:
        ValueError: the model predicts epsilon at zero terminal SNR.
    """
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        return scheduler
    if scheduler.config.get("rescale_betas_zero_snr") and scheduler.config.prediction_type == "epsilon":
        raise ValueError(f"{model} predicts epsilon at zero terminal SNR, where epsilon says nothing of the picture; use one that predicts v")
    return DDIMScheduler.from_config(scheduler.config, clip_sample=False, thresholding=False)  # latents have no range
