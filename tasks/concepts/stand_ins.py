"""The texts that a word is compared with: nothing, the coarse word, a person's captions (Gal et al. 2022, section 5.2)."""

import re

from tasks import artifacts
from tasks.concepts.captions import read_captions
from tasks.inversion.options import FROM_PICTURES
from tasks.settings import Settings

STAND_INS = {"coarse_word": "coarse word", "human_short": "short caption", "human_long": "long caption"}
"""The references that are other words: name in score files -> name for a person."""


def stand_ins(concept: str, settings: Settings) -> dict[str, str]:
    """Return the text of those of STAND_INS that a concept has."""
    word = coarse_word(concept, settings)
    coarse = {"coarse_word": word} if word else {}
    return coarse | {f"human_{kind}": text for kind, text in read_captions(artifacts.images(concept)).items()}


def coarse_word(concept: str, settings: Settings) -> str | None:
    """Return the ordinary word that a concept starts as, or the one nearest to its start where it starts from pictures.

    A word that starts as another concept has none, and one that starts from pictures has none before it is trained.
    """
    word, record = settings.concept(concept).initializer_token, artifacts.train_record(concept)
    if word == FROM_PICTURES and record.exists():
        return artifacts.read_json(record).get("coarse_word")
    return None if word.startswith("<") else word


def without_word(prompt: str) -> str:
    """Return a prompt without its word and the word's article: `a photo of a {} on the moon` -> `a photo of on the moon`."""
    return " ".join(re.sub(r"(\b(an|a|the) )?\{\}", "", prompt).split())
