"""The training loop: many words in one batch, each exactly as if it were alone."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor

from tasks.diffusion.base_model import BaseModel
from tasks.diffusion.per_layer import mean_norm
from tasks.inversion.checkpoints import checkpoint_of, in_main_memory, restored, save_checkpoints
from tasks.inversion.data import fixed_batch
from tasks.inversion.passes import batch_losses, laid_out, pictures_that_fit, step
from tasks.inversion.training import Training

LOOK_EVERY = 10  # optimizer steps between two looks at the losses, each of which makes a GPU wait
MOST_ON_A_GPU = 16  # trainings in one batch: more keep a GPU no busier
MOST_ON_A_CPU = 8  # trainings in one batch: more are not faster

OnStep = Callable[[Training], object]


def train(
    base: BaseModel,
    trainings: Sequence[Training],
    checkpoints: Mapping[str, Path],
    checkpoint_every: int,
    at_once: int | None = None,
    on_step: OnStep = lambda training: None,
) -> Iterator[Training]:
    """Train concepts, as many in one batch as share the denoiser, and yield each when it has ended, with its `result` or `error`.

    checkpoints: concept -> the file that a training continues from and leaves at its end. at_once: trainings in the batch, by default as many
    as a GPU's memory holds. A training that ends makes room for the next.

    The losses are summed, so each training gets the gradient that it would get alone. A training whose loss is not finite leaves the batch;
    its checkpoint keeps the last good state. A training with a further phase goes on in the same batch.
    """
    with laid_out(base):
        yield from train_together(base, trainings, checkpoints, checkpoint_every, at_once, on_step)


def train_together(
    base: BaseModel, trainings: Sequence[Training], checkpoints: Mapping[str, Path], checkpoint_every: int, at_once: int | None, on_step: OnStep
) -> Iterator[Training]:
    """Train concepts in one batch and yield each when its last phase has ended; see `train`."""
    waiting, active, seen, taken = deque(trainings), list[Training](), list[Tensor](), 0
    most = pictures_that_fit(base, trainings[0]) if trainings else 1
    at_once = at_once or (MOST_ON_A_CPU if base.device.type != "cuda" else max(1, min(MOST_ON_A_GPU, most // trainings[0].data.pictures_per_step)))
    with ThreadPoolExecutor(1) as writer:
        writing: Future | None = None
        while True:
            for training in [training for training in active if training.done]:
                active.remove(training)
                training.result = None if training.error else training.learned
                if training.then and training.result:
                    waiting.appendleft(training.then(training))
                else:
                    yield training
            if waiting and len(active) < at_once:
                training = waiting.popleft()
                training.begin(training)
                active.append(restored(training, checkpoint_of(training, checkpoints[training.concept])))
                continue  # its checkpoint may be of its last step
            if not active:
                return
            step_seen, most = take_step(base, active, most)
            seen.append(step_seen)
            taken += 1
            due = taken % checkpoint_every == 0 or any(training.done for training in active)
            if due or len(seen) == LOOK_EVERY:
                note_steps(active, torch.stack(seen, dim=1).tolist())
                seen.clear()
            done = any(training.done for training in active)
            if due or done:
                if writing:
                    writing.result()  # raises if the disk is full
                # Always of all trainings: the company of a training decides how its sums are rounded, so all have to go on from the same step.
                # Copies are written while the next steps run; at a training's end they are written before it is yielded.
                states = {checkpoint_of(word, checkpoints[word.concept]): in_main_memory(word.state()) for word in active if not word.error}
                writing = writer.submit(save_checkpoints, states)
                if done:
                    writing.result()
            for training in active:
                if not training.error:
                    on_step(training)


def take_step(base: BaseModel, trainings: Sequence[Training], most: int) -> tuple[Tensor, int]:
    """Take one optimizer step of each training, and the looks and probes that are due.

    Returns the loss and the norm of each word (trainings, 2), and how many pictures fit a pass.
    """
    started = time.monotonic()
    losses, most = step(base, trainings, most)
    for training in trainings:
        training.count_step((time.monotonic() - started) / len(trainings))
    watch(base, [training for training in trainings if training.schedule.due_for_a_look], most)
    for training in trainings:
        if training.schedule.due_for_a_probe:
            training.schedule.run_probe(training.trainable.learned)
    norms = [mean_norm(training.trainable.learned.rows.detach(), sum(base.widths)) for training in trainings]
    return torch.stack([losses, torch.stack(norms)], dim=1), most


def note_steps(trainings: Sequence[Training], seen: Sequence[Sequence[tuple[float, float]]]) -> None:
    """Record the loss and the norm of each training's last steps and note the first loss that is not finite."""
    for training, steps in zip(trainings, seen, strict=True):
        for number, (loss, norm) in enumerate(steps, start=training.schedule.step - len(steps) + 1):
            training.schedule.record(number, loss, norm)
            if training.error is None and not isfinite(loss):
                where = f"optimizer step {number} of its {training.phase}"
                training.error = f"the loss of {training.concept} is not finite at {where}; lower {training.rate} in params.yaml"


def watch(base: BaseModel, trainings: Sequence[Training], most: int) -> None:
    """Compute the loss of each training on its fixed batch, and note which may stop."""
    if not trainings:
        return
    batches = []
    for training in trainings:
        assert training.schedule.early_stop is not None
        pictures, device = training.schedule.early_stop.pictures, training.trainable.rows.device
        batches.append(fixed_batch(training.data, training.schedule.step, pictures, base.noise, device))
    with torch.no_grad():
        losses = batch_losses(base, trainings, batches, most).tolist()
    for training, loss in zip(trainings, losses, strict=True):
        training.schedule.watch(loss)
