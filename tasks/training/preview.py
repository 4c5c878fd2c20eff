"""Samples of words that are being learned, for a person who watches a build. They do not change what is learned."""

import shutil
from collections.abc import Callable
from io import BytesIO

import torch
from PIL import Image

from tasks import artifacts
from tasks.diffusion.base_model import BaseModel
from tasks.diffusion.ddim import generate
from tasks.inversion.picking import PROBES, decoding
from tasks.inversion.training import Training
from tasks.pipeline.progress import PREVIEWS, is_watched
from tasks.words.learned import taught

TIMES = 8  # samples of a phase of a training
SEEDS = (1_000_000, 1_000_001)  # far from the sample stage's seeds
STEPS = 15  # of DDIM; a person sees how far a word is


def previews(base: BaseModel, guidance_scale: float) -> Callable[[Training], None]:
    """Return what draws a word every eighth of a phase while somebody watches: SEEDS side by side, in a file named by the optimizer step."""

    def draw(training: Training) -> None:
        schedule = training.schedule
        if schedule.step % max(1, schedule.max_train_steps // TIMES) or not is_watched():
            return
        prompt = PROBES[training.data.kind][0].format(training.data.placeholder_token)
        with torch.no_grad(), decoding(base), taught(base, [training.learned]) as words:
            pictures = list(generate(base, [prompt] * len(SEEDS), SEEDS, words, STEPS, guidance_scale, len(SEEDS)))
        sheet, data = Image.new("RGB", (base.resolution * len(SEEDS), base.resolution)), BytesIO()
        for index, picture in enumerate(pictures):
            sheet.paste(picture, (base.resolution * index, 0))
        sheet.save(data, "PNG")
        taken = sum(phase.step for phase in training.schedules)
        artifacts.write_bytes(PREVIEWS / training.concept / f"{taken:06d}.png", data.getvalue())

    return draw


def forget(concept: str) -> None:
    """Delete the samples of a concept's earlier training."""
    shutil.rmtree(PREVIEWS / concept, ignore_errors=True)
