"""Which ordinary words the scorer sees in the pictures of a new concept: suggestions for its coarse word, and for what else a picture shows."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from tasks.diffusion.base_model import base_resolution, load_base_model
from tasks.diffusion.words import whole_words
from tasks.pictures.reading import read_picture
from tasks.settings import Scorer, Settings
from tasks.similarity.scorer import load_scorer

MOST_WORDS = 5_000  # of the vocabulary, whose frequent words come first
FRAME = "a photo of a {}"
NEAREST = 8  # words of a picture among which those are that tell it from the others
TELLING = 1.5  # standard deviations of a picture's cosines by which such a word is nearer to it than to the others


def nearest(words: Sequence[str], cosines: Tensor, count: int) -> list[tuple[str, float]]:
    """Return the words with the highest mean cosine, with that cosine. cosines: (pictures, words)."""
    mean = cosines.mean(dim=0)
    return [(words[index], round(float(mean[index]), 4)) for index in mean.argsort(descending=True)[:count].tolist()]


def telling(words: Sequence[str], cosines: Tensor, count: int) -> list[list[str]]:
    """Return, for each picture, at most `count` of its nearest words that are much farther from the other pictures. cosines: (pictures, words).

    What all pictures show is the concept itself, and what a single one shows is its context; a single picture has no others to differ from.
    """
    if len(cosines) < 2:
        return [[] for _ in cosines]
    excess = (cosines - (cosines.sum(dim=0) - cosines) / (len(cosines) - 1)) / cosines.std(dim=1, keepdim=True)
    order = cosines.argsort(dim=1, descending=True)[:, :NEAREST].tolist()
    return [[words[index] for index in row if own[index] >= TELLING][:count] for row, own in zip(order, excess, strict=True)]


def seen(pictures: Sequence[Path], settings: Settings) -> tuple[list[str], Tensor]:
    """Return the words of the vocabulary, and the cosine of each picture with each word's phrase: (pictures, words).

    Raises:
        UnusableError: a picture cannot be read.
    """
    rules, resolution = settings.curate, base_resolution(settings.base.model, settings.base.revision, settings.base.resolution)
    images = [read_picture(path, resolution, rules.min_side, rules.max_pixels).image for path in pictures]
    scorer = load_scorer(settings.scorer.model, settings.scorer.pretrained, settings.runtime.device)
    words, phrases = vocabulary(settings.base_model, settings.scorer)
    return words, scorer.image_features(images) @ phrases.T


@lru_cache(maxsize=1)
def vocabulary(base_model: tuple[Any, ...], judge: Scorer) -> tuple[list[str], Tensor]:
    """Return the words of a base model, and the features of their phrases under the scorer (words, dim).

    base_model: the arguments of `load_base_model`, all of them, since a process keeps one model and loads it again for others.
    """
    base, scorer = load_base_model(*base_model), load_scorer(judge.model, judge.pretrained, base_model[2])
    words = [word for word in whole_words(base) if word.isalpha() and len(word) > 2][:MOST_WORDS]
    return words, scorer.text_features([FRAME.format(word) for word in words])
