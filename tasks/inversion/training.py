"""The training loop: many words in one batch, each exactly as if it were alone."""

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from math import isfinite
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from tasks.diffusion.base_model import BaseModel
from tasks.diffusion.objective import add_noise, per_picture_loss, target
from tasks.diffusion.words import encode_tokens
from tasks.inversion.textual_inversion import Batch, Word, draw_batch, fixed_batch

logger = logging.getLogger(__name__)

LOOK_EVERY = 10  # optimizer steps between two looks at the losses, each of which makes a GPU wait
MOST_WORDS = 16  # in one batch: more keep a GPU no busier
ON_A_CPU = 8  # words: more are not faster
FREE_SHARE = 0.8  # of a GPU's free memory that may be filled


def train_words(
    base: BaseModel,
    words: Sequence[Word],
    checkpoints: Sequence[Path],
    checkpoint_every: int,
    at_once: int | None = None,
    on_step: Callable[[Word], object] = lambda word: None,
    on_end: Callable[[Word], object] = lambda word: None,
) -> None:
    """Train words in one batch until each has taken its steps; a word's checkpoint is continued and left behind at its end.

    at_once: words in the batch, by default as many as a GPU's memory holds; one that ends makes place for the next.

    The losses of the words are summed, so each row gets the gradient that it would get alone. A word whose loss is not
    finite leaves the batch with `word.error`; its checkpoint keeps the last good state.
    """
    paths = dict(zip((word.concept for word in words), checkpoints, strict=True))
    waiting, active, losses = deque(words), list[Word](), list[Tensor]()
    written: Future | None = None
    with ThreadPoolExecutor(1) as writer, trainable(base):
        most = pictures_that_fit(base, words[0]) if words else 1
        at_once = at_once or (ON_A_CPU if base.device.type == "cpu" else max(1, min(MOST_WORDS, most // words[0].batch_size)))
        while True:
            for word in [word for word in active if word.done]:
                active.remove(word)
                on_end(word)
            if waiting and len(active) < at_once:
                active.append(restored(waiting.popleft(), paths))
                continue  # it may have ended already
            if not active:
                return
            started = time.monotonic()
            step_losses, most = step(base, active, most)
            losses.append(step_losses)
            for word in active:
                word.count_step((time.monotonic() - started) / len(active))
            watch(base, [word for word in active if word.early_stop and word.step % word.early_stop.every == 0], most)
            for word in [word for word in active if word.due_for_a_probe]:
                word.look()
            due = [word for word in active if word.done or word.step % checkpoint_every == 0]
            if due or len(losses) == LOOK_EVERY:
                note_errors(active, torch.stack(losses, dim=1).tolist())
                losses.clear()
                if written:
                    written.result()  # a full disk is heard of
                # Written beside the next steps, from copies; at a word's end before anyone is told.
                written = writer.submit(save_checkpoints, {paths[word.concept]: deepcopy(word.state()) for word in due if not word.error})
                if any(word.done for word in due):
                    written.result()
            for word in active:
                if not word.error:
                    on_step(word)


def restored(word: Word, checkpoints: Mapping[str, Path]) -> Word:
    """Continue a word's checkpoint, if there is one that can be read; it may come from another device."""
    if state := read_checkpoint(checkpoints[word.concept]):
        word.restore(state)
        logger.info("%s continues at optimizer step %d of %d", word.concept, word.step, word.max_train_steps)
    return word


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """Return what `save_checkpoints` wrote, on the CPU; None where there is none, or one that a power cut left half written."""
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, UnpicklingError) as error:
        logger.warning("checkpoint %s cannot be read and is left out: %s", path, error)
        return None


def note_errors(words: Sequence[Word], losses: Sequence[Sequence[float]]) -> None:
    """Look at the losses of each word's last steps and note the first that is not finite."""
    for word, series in zip(words, losses, strict=True):
        for number, loss in enumerate(series, start=word.step - len(series) + 1):
            if word.error is None and not isfinite(loss):
                word.error = f"the loss of {word.concept} is not finite at optimizer step {number}; lower invert.learning_rate in params.yaml"


def watch(base: BaseModel, words: Sequence[Word], most: int) -> None:
    """Take the loss of each word on the batch that never changes, and note which words may stop."""
    if words:
        with torch.no_grad():
            losses = batch_losses(base, words, [fixed_batch(word, base.noise_scheduler.config.num_train_timesteps) for word in words], most).tolist()
        for word, loss in zip(words, losses, strict=True):
            word.watch(loss)


def step(base: BaseModel, words: Sequence[Word], most: int) -> tuple[Tensor, int]:
    """Take one optimizer step of each word: return their losses (words,) and how many pictures fit a pass.

    A pass that the GPU's memory does not hold is tried again with half the pictures.
    """
    batches = [draw_batch(word, base.noise_scheduler.config.num_train_timesteps) for word in words]
    while True:
        for word in words:
            word.optimizer.zero_grad(set_to_none=True)
        try:
            losses = batch_losses(base, words, batches, most)
            break
        except torch.cuda.OutOfMemoryError:
            if most == 1:
                raise
            most = max(1, min(most, sum(word.batch_size for word in words)) // 2)
            torch.cuda.empty_cache()
    for word in words:
        word.optimizer.step()
    return losses, most


def joint_batch(base: BaseModel, words: Sequence[Word], batches: Sequence[Batch]) -> Batch:
    """Put the words' batches behind one another."""
    first_id, shift, input_ids = len(base.tokenizer), 0, []
    for word, batch in zip(words, batches, strict=True):
        # Every word counts its vectors from the end of the vocabulary; in company they are moved behind one another.
        input_ids.append(torch.where(batch.input_ids >= first_id, batch.input_ids + shift, batch.input_ids))
        shift += len(word.rows)
    latents, noise, timesteps = (torch.cat([getattr(batch, name) for batch in batches]) for name in ("latents", "noise", "timesteps"))
    return Batch(torch.cat(input_ids), latents, noise, timesteps)


def batch_losses(base: BaseModel, words: Sequence[Word], batches: Sequence[Batch], most: int) -> Tensor:
    """Return the mean denoising loss of each word (words,) over its own batch, and add up the gradients of their rows.

    most: pictures that go through the model at once.
    """
    scheduler, pictures = base.noise_scheduler, []
    joint, sizes = joint_batch(base, words, batches), [len(batch.latents) for batch in batches]
    weights = torch.cat([torch.full((size,), 1 / size, device=base.device) for size in sizes])
    for start in range(0, len(weights), most):
        part = slice(start, start + most)
        latents, noise, timesteps = joint.latents[part], joint.noise[part], joint.timesteps[part]
        alpha_bar = scheduler.alphas_cumprod.to(base.device)[timesteps].view(-1, 1, 1, 1)
        condition = encode_tokens(base, joint.input_ids[part], torch.cat([word.rows for word in words]))
        prediction = base.denoise(add_noise(latents, noise, alpha_bar), timesteps, condition)
        losses = weights[part] * per_picture_loss(prediction, target(latents, noise, alpha_bar, scheduler.config.prediction_type))
        if torch.is_grad_enabled():
            losses.sum().backward()
        pictures.append(losses.detach())
    for word in words:
        if word.penalty and torch.is_grad_enabled():
            word.penalty(word.rows).backward()
    return torch.stack([part.sum() for part in torch.cat(pictures).split(sizes)])


@contextmanager
def trainable(base: BaseModel) -> Iterator[None]:
    """Lay the denoiser out for training while the block runs; the autoencoder leaves a GPU, since the pictures are encoded."""
    if base.device.type == "cpu":
        # The backward of group norms and small convolutions is faster there plane by plane; sampling is faster in whole rows.
        base.unet.to(memory_format=torch.contiguous_format)
    else:
        base.vae.to("cpu")
    try:
        yield
    finally:
        base.vae.to(base.device)
        base.unet.to(memory_format=torch.channels_last)
        base.unet.disable_gradient_checkpointing()


def pictures_that_fit(base: BaseModel, word: Word) -> int:
    """Return how many pictures fit a forward and a backward pass, measured with one; any number does on a CPU.

    Where a single word's batch does not fit, activations are computed anew in the backward pass (Chen et al. 2016) instead of kept.
    """
    if base.device.type == "cpu":
        return 1 << 20
    state, fit = word.generator.get_state(), 0
    for _ in range(2):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(base.device)
        before = torch.cuda.memory_allocated(base.device)
        try:
            batch_losses(base, [word], [draw_batch(word, base.noise_scheduler.config.num_train_timesteps)], most=1)
        except torch.cuda.OutOfMemoryError:
            if base.unet.is_gradient_checkpointing:
                raise
            fit = 0
        else:
            each = torch.cuda.max_memory_allocated(base.device) - before
            torch.cuda.empty_cache()  # what the measured pass had is free again
            fit = int(FREE_SHARE * torch.cuda.mem_get_info(base.device)[0] / each)
        word.generator.set_state(state)
        if fit >= word.batch_size:
            break
        base.unet.enable_gradient_checkpointing()
    return max(1, fit)


def save_checkpoints(states: Mapping[Path, dict]) -> None:
    """Write the checkpoints of a step; all move into place together, so that the words of a batch continue at the same step."""
    temporaries = {path: path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in states}
    for path, state in states.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, temporaries[path])
    for path, temporary in temporaries.items():
        os.replace(temporary, path)
