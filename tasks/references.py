"""What stands where a word stands, to compare it with: nothing, the coarse word, what a person would say (Gal et al. 2022, section 5.2)."""

import re
from pathlib import Path

import yaml

from tasks import artifacts
from tasks.settings import Settings

STAND_INS = {"coarse_word": "coarse word", "human_short": "short caption", "human_long": "long caption"}
"""The references that are other words: their names in score files, and for a person."""
MOST_WORDS = {"short": 12, "long": 30}


def stand_ins(concept: str, settings: Settings) -> dict[str, str]:
    """Return the text of those of STAND_INS that a concept has; a word that starts as another concept has no coarse word."""
    word = settings.concept(concept).initializer_token
    coarse = {} if word.startswith("<") else {"coarse_word": word}
    return coarse | {f"human_{kind}": text for kind, text in read_captions(artifacts.images(concept)).items()}


def without_word(prompt: str) -> str:
    """Return a prompt without its word and the word's article: `a photo of a {} on the moon` -> `a photo of on the moon`."""
    return " ".join(re.sub(r"(\b(an|a|the) )?\{\}", "", prompt).split())


def read_captions(pictures: Path) -> dict[str, str]:
    """Return the captions that lie beside a concept's pictures, `short` and `long`; where there is no captions.yaml there are none.

    Raises:
        ValueError: captions.yaml holds something else, or a caption is longer than the paper's.
    """
    path = pictures / "captions.yaml"
    if not path.exists():
        return {}
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict) or not found.keys() <= MOST_WORDS.keys() or not all(isinstance(text, str) for text in found.values()):
        raise ValueError(f"{path} must hold two lines at most, `short: TEXT` and `long: TEXT`")
    for kind, text in found.items():
        if not 1 <= len(text.split()) <= MOST_WORDS[kind]:
            raise ValueError(f"{path}: the {kind} caption has {len(text.split())} words; give it 1 to {MOST_WORDS[kind]}")
    return {kind: " ".join(text.split()) for kind, text in found.items()}
