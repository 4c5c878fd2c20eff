"""Which ordinary words are nearest to pictures of a new concept, as the scorer sees them: suggestions for its coarse word."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from torch import Tensor

from tasks.diffusion.base_model import load_base_model
from tasks.diffusion.resolution import base_resolution
from tasks.diffusion.words import whole_words
from tasks.pictures.reading import read_picture
from tasks.settings import Base, Scorer, Settings
from tasks.similarity.scorer import load_scorer

MOST_WORDS = 5_000  # of the vocabulary, whose frequent words come first
FRAME = "a photo of a {}"


def nearest_words(pictures: Sequence[Path], settings: Settings, count: int) -> list[tuple[str, float]]:
    """Return the words whose phrase has the highest mean cosine with pictures, with that cosine, the nearest first.

    Raises:
        UnusableError: a picture cannot be read.
    """
    rules, resolution = settings.curate, base_resolution(settings.base.model, settings.base.revision, settings.base.resolution)
    images = [read_picture(path, resolution, rules.min_side, rules.max_pixels).image for path in pictures]
    scorer = load_scorer(settings.scorer.model, settings.scorer.pretrained, settings.runtime.device)
    words, phrases = vocabulary(settings.base, settings.scorer, settings.runtime.device)
    cosines = (scorer.image_features(images) @ phrases.T).mean(dim=0)
    return [(words[index], round(float(cosines[index]), 4)) for index in cosines.argsort(descending=True)[:count].tolist()]


@lru_cache(maxsize=1)
def vocabulary(model: Base, judge: Scorer, device: str) -> tuple[list[str], Tensor]:
    """Return the words of the base model, and the features of their phrases under the scorer (words, dim)."""
    base, scorer = load_base_model(model.model, model.revision, device), load_scorer(judge.model, judge.pretrained, device)
    words = [word for word in whole_words(base) if word.isalpha() and len(word) > 2][:MOST_WORDS]
    return words, scorer.text_features([FRAME.format(word) for word in words])
