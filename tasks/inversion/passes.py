"""Passes through the model: the batches of several trainings go through it as one."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields

import torch
from torch import Tensor

from tasks.diffusion.base_model import BaseModel
from tasks.diffusion.objective import per_picture_loss
from tasks.diffusion.per_layer import joined_rows
from tasks.diffusion.words import encode_tokens
from tasks.inversion.data import Batch, draw_batch
from tasks.inversion.training import Training

FREE_SHARE = 0.8  # of a GPU's free memory that may be filled


def drawn(base: BaseModel, training: Training) -> Batch:
    """Draw a training's batch for its next step."""
    device = training.trainable.rows.device
    return draw_batch(training.data, training.schedule.step, base.noise, device)


def step(base: BaseModel, trainings: Sequence[Training], most: int) -> tuple[Tensor, int]:
    """Take one optimizer step of each training: return their losses (trainings,) and how many pictures fit a pass.

    A pass that the GPU's memory does not hold is tried again with half the pictures.
    """
    batches = [drawn(base, training) for training in trainings]
    while True:
        for training in trainings:
            training.trainable.optimizer.zero_grad(set_to_none=True)
        try:
            losses = batch_losses(base, trainings, batches, most)
            break
        except torch.cuda.OutOfMemoryError:
            if most == 1:
                raise
            most = max(1, min(most, sum(training.data.pictures_per_step for training in trainings)) // 2)
            torch.cuda.empty_cache()
    for training in trainings:
        training.trainable.optimizer.step()
    return losses, most


def joint_batch(base: BaseModel, trainings: Sequence[Training], batches: Sequence[Batch]) -> Batch:
    """Concatenate the trainings' batches."""
    first_id, shift, input_ids = base.first_ids, 0, []
    for training, batch in zip(trainings, batches, strict=True):
        # In its own batch every word's ids start at the end of the vocabulary; here each word's follow those of the word before.
        input_ids.append(torch.where(batch.input_ids >= first_id, batch.input_ids + shift, batch.input_ids))
        shift += len(training.trainable.rows)
    rest = (torch.cat([getattr(batch, part.name) for batch in batches]) for part in fields(Batch)[1:])
    return Batch(torch.cat(input_ids), *rest)


def batch_losses(base: BaseModel, trainings: Sequence[Training], batches: Sequence[Batch], most: int) -> Tensor:
    """Return the denoising loss of each training (trainings,) over its own batch, and accumulate the gradients.

    most: pictures that go through the model at once.
    """
    process, picture_losses = base.noise, list[Tensor]()
    joint, sizes = joint_batch(base, trainings, batches), [len(batch.latents) for batch in batches]
    changes = {training.concept: training.trainable.changes for training in trainings if training.trainable.changes}
    strengths, learning = own_strengths(trainings, sizes), learning_encoders(base, trainings)
    for start in range(0, len(joint.weights), most):
        part = slice(start, start + most)
        latents, noise, timesteps = joint.latents[part], joint.noise[part], joint.timesteps[part]
        condition = encode_tokens(base, joint.input_ids[part], joined_rows([training.trainable.rows for training in trainings]), learning)
        condition = condition._replace(strengths=None if strengths is None else strengths[part])
        with base.adapters.attached(base.denoiser, changes):
            prediction = base.denoise(process.add_noise(latents, noise, timesteps), timesteps, condition)
            losses = joint.weights[part] * per_picture_loss(prediction, process.target(latents, noise, timesteps))
            if torch.is_grad_enabled():
                losses.sum().backward()  # within the block: gradient checkpointing computes activations again, with the adapters
        picture_losses.append(losses.detach())
    for training in trainings:
        if training.trainable.penalty and torch.is_grad_enabled():
            training.trainable.penalty(training.trainable.rows).backward()
    return torch.stack([part.sum() for part in torch.cat(picture_losses).split(sizes)])


def learning_encoders(base: BaseModel, trainings: Sequence[Training]) -> list[bool]:
    """Return for each text encoder whether any training learns its part of a word; the others need no backward pass."""
    fixed = [training.trainable.fixed for training in trainings]
    if any(columns is None for columns in fixed):
        return [True] * len(base.widths)
    everywhere = torch.stack(fixed).all(dim=0)
    return [not part.all() for part in everywhere.split(base.widths)]


def own_strengths(trainings: Sequence[Training], sizes: Sequence[int]) -> Tensor | None:
    """Return how strongly each adapter acts on each picture (pictures, adapters, 1): fully on its own training's; None without adapters."""
    adapted = [number for number, training in enumerate(trainings) if training.trainable.changes]
    owners = torch.arange(len(trainings)).repeat_interleave(torch.tensor(sizes))
    return (owners[:, None, None] == torch.tensor(adapted)[:, None]).float() if adapted else None


@contextmanager
def laid_out(base: BaseModel) -> Iterator[None]:
    """Give the denoiser the memory layout for training while the block runs; the autoencoder leaves a GPU, since the pictures are encoded."""
    if base.device.type == "cpu":
        # On a CPU the backward pass of group norms and small convolutions is faster channels first; sampling is faster channels last.
        base.denoiser.to(memory_format=torch.contiguous_format)
    else:
        base.vae.to("cpu")
    try:
        yield
    finally:
        base.vae.to(base.device)
        base.denoiser.to(memory_format=torch.channels_last)
        base.denoiser.disable_gradient_checkpointing()


def pictures_that_fit(base: BaseModel, training: Training) -> int:
    """Return how many pictures fit a forward and a backward pass, measured with one; a CPU and Apple's shared memory set no limit.

    Where a single training's batch does not fit, activations are recomputed in the backward pass (Chen et al. 2016) instead of stored.
    """
    if base.device.type != "cuda":
        return 1 << 20
    state, fit = training.data.generator.get_state(), 0
    for _ in range(2):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(base.device)
        before = torch.cuda.memory_allocated(base.device)
        try:
            batch_losses(base, [training], [drawn(base, training)], most=1)
        except torch.cuda.OutOfMemoryError:
            if base.denoiser.is_gradient_checkpointing:
                raise
            fit = 0
        else:
            per_picture = torch.cuda.max_memory_allocated(base.device) - before
            torch.cuda.empty_cache()  # returns the memory of the measured pass
            fit = int(FREE_SHARE * torch.cuda.mem_get_info(base.device)[0] / per_picture)
        training.data.generator.set_state(state)
        if fit >= training.data.pictures_per_step:
            break
        base.denoiser.enable_gradient_checkpointing()
    return max(1, fit)
