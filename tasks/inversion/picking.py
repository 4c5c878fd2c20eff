"""Picking the published step by score: a small CLIP probe while a word is trained, since the loss says nothing about editability."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean

from PIL import Image

from tasks.diffusion.base_model import BaseModel
from tasks.diffusion.ddim import generate
from tasks.inversion.options import Pick
from tasks.inversion.training import Training
from tasks.similarity.scorer import load_scorer
from tasks.similarity.scores import editability, reconstruction
from tasks.words.learned import Learned, taught

PROBES: dict[str, tuple[str, dict[str, str]]] = {
    "object": (
        "a photo of a {}",
        {"a photo of a {} in the snow": "a photo of in the snow", "a pencil sketch of a {}": "a pencil sketch of"},
    ),
    "style": (
        "a painting in the style of {}",
        {
            "a picture of a dog in the style of {}": "a picture of a dog in the style of",
            "a picture of a house in the style of {} in the snow": "a picture of a house in the style of in the snow",
        },
    ),
}
"""kind -> the prompt for likeness, and the prompts for edits, each with the text that its pictures are compared with."""
FIRST_SEED = 1_000_000  # far from the sample stage's seeds, so a word is not picked by the pictures that it is judged by
AT_ONCE = 8  # pictures generated at once


@contextmanager
def decoding(base: BaseModel) -> Iterator[None]:
    """Keep the autoencoder on the denoiser's device while the block draws; training moves it off a GPU."""
    vae_device = base.vae.device
    base.vae.to(base.device)
    try:
        yield
    finally:
        base.vae.to(vae_device)


def probed(base: BaseModel, training: Training, pick: Pick, pictures: Sequence[Image.Image], device: str) -> Training:
    """Let a training probe its scores every few steps; the best rows that were seen are published.

    The score is the geometric mean of reconstruction and editability: one percent more of one balances one percent less of the other.
    """
    scorer = load_scorer(pick.model, pick.pretrained, device)
    likeness, edits = PROBES[training.data.kind]
    likenesses, texts = scorer.image_features(pictures), scorer.text_features(list(edits.values()))
    prompts = [prompt.format(training.data.placeholder_token) for prompt in (likeness, *edits) for _ in range(pick.pictures)]
    seeds = [FIRST_SEED + number for number in range(pick.pictures)] * (1 + len(edits))

    def probe(learned: Learned) -> dict[str, float]:
        with decoding(base), taught(base, [learned]) as words:
            drawn = list(generate(base, prompts, seeds, words, pick.num_inference_steps, pick.guidance_scale, AT_ONCE))
        of_likeness, *of_edits = scorer.image_features(drawn).split(pick.pictures)
        faithful, editable = reconstruction(of_likeness, likenesses), fmean(map(editability, of_edits, texts))
        score = (max(faithful, 0.0) * max(editable, 0.0)) ** 0.5
        return {"reconstruction": round(faithful, 5), "editability": round(editable, 5), "score": round(score, 5)}

    training.schedule.probe, training.schedule.probe_every = probe, pick.every
    return training
