"""The checkpoint picked by score: a small CLIP probe of a word while it is learned, since the loss says nothing of how it can be edited."""

from collections.abc import Sequence
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
"""kind -> the prompt for likeness, and those for edits with the text that their pictures are held against."""
FIRST_SEED = 1_000_000  # far from those that the sample stage draws with: a word is not picked for the pictures that it is judged by
AT_ONCE = 8  # pictures in the making


def probed(base: BaseModel, training: Training, pick: Pick, pictures: Sequence[Image.Image], device: str) -> Training:
    """Let a training probe its scores every few steps; the best rows that were seen are published.

    The score is the geometric mean of reconstruction and editability: a percent more of one outweighs a percent less of the other.
    """
    scorer = load_scorer(pick.model, pick.pretrained, device)
    likeness, edits = PROBES[training.data.kind]
    likenesses, texts = scorer.image_features(pictures), scorer.text_features(list(edits.values()))
    prompts = [prompt.format(training.data.placeholder_token) for prompt in (likeness, *edits) for _ in range(pick.pictures)]
    seeds = [FIRST_SEED + number for number in range(pick.pictures)] * (1 + len(edits))

    def probe(learned: Learned) -> dict[str, float]:
        place = base.vae.device  # on a GPU it makes room for the training
        base.vae.to(base.device)
        with taught(base, [learned]) as words:
            drawn = list(generate(base, prompts, seeds, words, pick.num_inference_steps, pick.guidance_scale, AT_ONCE))
        first, *others = scorer.image_features(drawn).split(pick.pictures)
        base.vae.to(place)
        faithful, editable = reconstruction(first, likenesses), fmean(map(editability, others, texts))
        score = (max(faithful, 0.0) * max(editable, 0.0)) ** 0.5
        return {"reconstruction": round(faithful, 5), "editability": round(editable, 5), "score": round(score, 5)}

    training.schedule.probe, training.schedule.probe_every = probe, pick.every
    return training
