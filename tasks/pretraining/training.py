"""The shared pretraining loop: learning-rate schedule, weight averages, checkpoints that a later run continues."""

import copy
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tasks.diffusion.devices import fast_bfloat16

logger = logging.getLogger(__name__)


def pick_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def learning_rate(step: int, max_train_steps: int, peak: float, warmup: int = 200, decay: float = 0.25) -> float:
    """Warm up, stay at `peak`, and fall linearly to zero over the last share of the steps.

    The constant part lets a training be prolonged: a later run with more steps continues from a checkpoint in it.
    """
    left = (max_train_steps - step) / (decay * max_train_steps)
    return peak * min(1.0, (step + 1) / warmup, left)


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, step: int, decay: float = 0.9995) -> None:
    """Move the averaged weights towards the model's; young averages forget faster (Karras et al. 2022)."""
    weight = 1 - min(decay, (1 + step) / (10 + step))
    for ours, theirs in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if ours.is_floating_point():
            ours.lerp_(theirs, weight)
        else:
            ours.copy_(theirs)


def adamw(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=weight_decay, fused=True)


def train(
    name: str,
    model: nn.Module,
    loss: Callable[[nn.Module, np.random.Generator, torch.Generator], Tensor],
    folder: Path,
    max_train_steps: int,
    peak: float,
    weight_decay: float = 0.01,
    seed: int = 0,
    checkpoint_seconds: float = 240.0,
    optimizer: Callable[[nn.Module, float, float], torch.optim.Optimizer] = adamw,
    device: torch.device | None = None,
) -> nn.Module:
    """Train `model` and return its averaged copy; a checkpoint in `folder` is continued.

    `loss` draws its own batch from the two generators, which are seeded by (seed, step), so that a continued run
    sees the same batches as an uninterrupted one. device: where the model is trained, by default `pick_device()`; what `loss` needs has to be there.
    """
    device = device or pick_device()
    model.to(device).to(memory_format=torch.channels_last)  # a tenth faster on CPUs
    average = copy.deepcopy(model).eval().requires_grad_(False)
    moving = optimizer(model, peak, weight_decay)
    folder.mkdir(parents=True, exist_ok=True)
    path, first = folder / f"{name}.pt", 0
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        moving.load_state_dict(state["optimizer"])
        first = state["step"]
        logger.info("%s continues at step %d of %d", name, first, max_train_steps)
    started = saved = time.monotonic()
    running = torch.zeros((), device=device)
    for step in range(first, max_train_steps):
        for group in moving.param_groups:
            group["lr"] = learning_rate(step, max_train_steps, peak)
        batch_seed = seed * 1_000_003 + step
        with torch.autocast(device.type, torch.bfloat16, enabled=fast_bfloat16(device)):  # 1.5 times as fast where the processor supports it
            value = loss(model, np.random.default_rng(batch_seed), torch.Generator(device).manual_seed(batch_seed))
        moving.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        moving.step()
        update_average(average, model, step)
        running += (value.detach() - running) * (1 if step == first else 0.02)
        if (step + 1) % 100 == 0 or step + 1 == max_train_steps:
            pace = (step + 1 - first) / (time.monotonic() - started)
            logger.info("%s step %d/%d loss %.4f, %.1f steps/s", name, step + 1, max_train_steps, float(running), pace)
        if step + 1 == max_train_steps or time.monotonic() - saved > checkpoint_seconds:
            state = {"model": model.state_dict(), "average": average.state_dict(), "optimizer": moving.state_dict(), "step": step + 1}
            temporary = path.with_suffix(".tmp")
            torch.save(state, temporary)
            os.replace(temporary, path)
            saved = time.monotonic()
    return average


def finished(folder: Path, name: str, max_train_steps: int) -> bool:
    """Say whether a training's checkpoint has all its steps."""
    path = folder / f"{name}.pt"
    return path.exists() and torch.load(path, map_location="cpu", weights_only=True)["step"] >= max_train_steps


def batches(count: int, size: int) -> Iterator[slice]:
    """Cut `count` rows into slices of `size`."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
