"""The training loop: many words in one batch, each exactly as if it were alone."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tasks.diffusion.base_model import BaseModel
from tasks.diffusion.objective import add_noise, per_picture_loss, target
from tasks.diffusion.words import encode_tokens
from tasks.inversion.textual_inversion import Word, draw_batch

logger = logging.getLogger(__name__)


def train_words(
    base: BaseModel,
    words: Sequence[Word],
    checkpoints: Sequence[Path],
    checkpoint_every: int,
    on_step: Callable[[Word], object] = lambda word: None,
) -> None:
    """Train words in one batch until each has taken its steps; a word's checkpoint is continued and left behind at its end.

    The losses of the words are summed, so each row gets the gradient that it would get alone. A word whose loss is not
    finite leaves the batch with `word.error`; its checkpoint keeps the last good state.
    """
    paths = dict(zip((word.concept for word in words), checkpoints, strict=True))
    for word in words:
        if paths[word.concept].exists():
            word.restore(torch.load(paths[word.concept], weights_only=True))
            logger.info("%s continues at optimizer step %d of %d", word.concept, word.step, word.max_train_steps)
    while active := [word for word in words if word.error is None and word.step < word.max_train_steps]:
        losses = batch_losses(base, active)
        healthy = [(word, loss) for word, loss in zip(active, losses, strict=True) if torch.isfinite(loss)]
        for word in active:
            word.optimizer.zero_grad(set_to_none=True)
        if healthy:
            torch.stack([loss for _, loss in healthy]).sum().backward()
        for word, _ in healthy:
            word.optimizer.step()
            word.count_step()
        save_checkpoints({paths[word.concept]: word for word, _ in healthy if word.step % checkpoint_every == 0 or word.step == word.max_train_steps})
        for word, _ in healthy:
            on_step(word)
        for word in active:
            if all(word is not other for other, _ in healthy):
                word.error = f"the loss of {word.concept} is not finite at optimizer step {word.step + 1}; lower invert.learning_rate in params.yaml"


def batch_losses(base: BaseModel, words: Sequence[Word]) -> list[Tensor]:
    """Return the mean denoising loss of each word over its own part of one common batch."""
    scheduler = base.noise_scheduler
    batches = [draw_batch(word, scheduler.config.num_train_timesteps) for word in words]
    first_id, shift, input_ids = len(base.tokenizer), 0, []
    for word, batch in zip(words, batches, strict=True):
        # Every word counts its vectors from the end of the vocabulary; in company they are moved behind one another.
        input_ids.append(torch.where(batch.input_ids >= first_id, batch.input_ids + shift, batch.input_ids))
        shift += len(word.rows)
    latents, noise = torch.cat([batch.latents for batch in batches]), torch.cat([batch.noise for batch in batches])
    timesteps = torch.cat([batch.timesteps for batch in batches])
    alpha_bar = scheduler.alphas_cumprod.to(base.device)[timesteps].view(-1, 1, 1, 1)
    condition = encode_tokens(base, torch.cat(input_ids), torch.cat([word.rows for word in words]))
    noisy_latents = add_noise(latents, noise, alpha_bar).contiguous(memory_format=torch.channels_last)
    prediction = base.denoise(noisy_latents, timesteps, condition)
    losses = per_picture_loss(prediction, target(latents, noise, alpha_bar, scheduler.config.prediction_type))
    return [part.mean() for part in losses.split([word.batch_size for word in words])]


def save_checkpoints(words: Mapping[Path, Word]) -> None:
    """Write the checkpoints of a step; all move into place together, so that the words of a batch continue at the same step."""
    temporaries = {path: path.with_suffix(f".{os.getpid()}.tmp") for path in words}
    for path, word in words.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(word.state(), temporaries[path])
    for path, temporary in temporaries.items():
        os.replace(temporary, path)
