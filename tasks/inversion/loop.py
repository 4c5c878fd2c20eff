"""The training loop: many words in one batch, each exactly as if it were alone."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor

from tasks.diffusion.base_model import BaseModel
from tasks.inversion.checkpoints import checkpoint_of, restored, save_checkpoints
from tasks.inversion.data import fixed_batch
from tasks.inversion.passes import batch_losses, laid_out, pictures_that_fit, step
from tasks.inversion.training import Training

LOOK_EVERY = 10  # optimizer steps between two looks at the losses, each of which makes a GPU wait
MOST_TRAININGS = 16  # in one batch: more keep a GPU no busier
ON_A_CPU = 8  # trainings in one batch: more are not faster

OnStep = Callable[[Training], object]


def train(
    base: BaseModel,
    trainings: Sequence[Training],
    checkpoints: Mapping[str, Path],
    checkpoint_every: int,
    at_once: int | None = None,
    on_step: OnStep = lambda training: None,
) -> Iterator[Training]:
    """Train concepts, as many in one batch as share the denoiser, and yield each when it has ended, with `ended` or `error`.

    checkpoints: concept -> the checkpoint that is continued, and left behind at the end. at_once: trainings in the batch, by default as many
    as a GPU's memory holds. A training that ends makes place for the next.

    The losses are summed, so each training gets the gradient that it would get alone. A training whose loss is not finite leaves the batch;
    its checkpoint keeps the last good state. A training that changes the denoiser comes after those that share it, alone.
    """
    later = deque(training for training in trainings if training.trainable.alone)
    with laid_out(base):
        shared = [training for training in trainings if not training.trainable.alone]
        for training in in_company(base, shared, checkpoints, checkpoint_every, at_once, on_step):
            if training.then and not training.error:
                later.append(training.then(training))
            else:
                yield training
        while later:
            training = later.popleft()
            with training.trainable.on(base):
                list(in_company(base, [training], checkpoints, checkpoint_every, 1, on_step))
            if training.then and not training.error:
                later.appendleft(training.then(training))
            else:
                yield training


def in_company(
    base: BaseModel, trainings: Sequence[Training], checkpoints: Mapping[str, Path], checkpoint_every: int, at_once: int | None, on_step: OnStep
) -> Iterator[Training]:
    """Train concepts in one batch and yield each when this phase of it has ended; see `train`."""
    paths = {training.concept: checkpoint_of(training, checkpoints[training.concept]) for training in trainings}
    waiting, active, losses = deque(trainings), list[Training](), list[Tensor]()
    most = pictures_that_fit(base, trainings[0]) if trainings else 1
    at_once = at_once or (ON_A_CPU if base.device.type == "cpu" else max(1, min(MOST_TRAININGS, most // trainings[0].data.batch_size)))
    with ThreadPoolExecutor(1) as writer:
        written: Future | None = None
        while True:
            for training in [training for training in active if training.done]:
                active.remove(training)
                training.ended = None if training.error else training.learned
                yield training
            if waiting and len(active) < at_once:
                training = waiting.popleft()
                active.append(restored(training, paths[training.concept]))
                continue  # it may have ended already
            if not active:
                return
            step_losses, most = take_step(base, active, most)
            losses.append(step_losses)
            due = [training for training in active if training.done or training.schedule.step % checkpoint_every == 0]
            if due or len(losses) == LOOK_EVERY:
                note_errors(active, torch.stack(losses, dim=1).tolist())
                losses.clear()
                if written:
                    written.result()  # raises if the disk is full
                # The checkpoints are written beside the next steps, from copies; at a training's end they are written before anyone is told.
                states = {paths[training.concept]: deepcopy(training.state()) for training in due if not training.error}
                written = writer.submit(save_checkpoints, states)
                if any(training.done for training in due):
                    written.result()
            for training in active:
                if not training.error:
                    on_step(training)


def take_step(base: BaseModel, trainings: Sequence[Training], most: int) -> tuple[Tensor, int]:
    """Take one optimizer step of each training, then what is due after it; return the losses (trainings,) and how many pictures fit a pass."""
    started = time.monotonic()
    losses, most = step(base, trainings, most)
    for training in trainings:
        training.count_step((time.monotonic() - started) / len(trainings))
    watch(base, [training for training in trainings if training.schedule.due_for_a_look], most)
    for training in trainings:
        if training.schedule.due_for_a_probe:
            training.schedule.look(training.trainable.learned)
    return losses, most


def note_errors(trainings: Sequence[Training], losses: Sequence[Sequence[float]]) -> None:
    """Look at the losses of each training's last steps and note the first that is not finite."""
    for training, series in zip(trainings, losses, strict=True):
        for number, loss in enumerate(series, start=training.schedule.step - len(series) + 1):
            if training.error is None and not isfinite(loss):
                where = f"optimizer step {number} of its {training.phase}"
                training.error = f"the loss of {training.concept} is not finite at {where}; lower {training.rate} in params.yaml"


def watch(base: BaseModel, trainings: Sequence[Training], most: int) -> None:
    """Take the loss of each training on the batch that never changes, and note which may stop."""
    if not trainings:
        return
    steps, batches = base.noise.num_train_timesteps, []
    for training in trainings:
        assert training.schedule.early_stop is not None
        pictures, device = training.schedule.early_stop.pictures, training.trainable.rows.device
        batches.append(fixed_batch(training.data, training.schedule.step, pictures, steps, device))
    with torch.no_grad():
        losses = batch_losses(base, trainings, batches, most).tolist()
    for training, loss in zip(trainings, losses, strict=True):
        training.schedule.watch(loss)
