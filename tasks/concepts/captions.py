"""captions.yaml, which lies beside a concept's pictures: what a person would say of the concept and of each picture."""

from collections.abc import Collection
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.documents import read_yaml

MOST_WORDS = {"short": 12, "long": 30}
MOST_WORDS_OF_CONTEXT = 12


class Captions(BaseModel):
    """A captions.yaml."""

    model_config = ConfigDict(extra="forbid")

    short: str | None = None
    long: str | None = None
    context: dict[str, str] = {}
    """File -> what else its picture shows."""


def read_captions(pictures: Path) -> dict[str, str]:
    """Return the captions that lie beside a concept's pictures, `short` and `long`; without a captions.yaml there are none.

    Raises:
        ValueError: captions.yaml holds something else, or a caption is longer than the paper's.
    """
    captions = captions_file(pictures).model_dump(include=set(MOST_WORDS), exclude_none=True)
    return {kind: within_limit(pictures, f"the {kind} caption", text, MOST_WORDS[kind]) for kind, text in captions.items()}


def read_contexts(pictures: Path, files: Collection[str]) -> dict[str, str]:
    """Return file -> what else its picture shows, such as `on the grass`, from the captions.yaml that lies beside a concept's pictures.

    Raises:
        ValueError: captions.yaml holds something else, a context is too long, has braces, or is of none of `files`.
    """
    contexts = captions_file(pictures).context
    for file, text in contexts.items():
        if file not in files:
            raise ValueError(f"{pictures / 'captions.yaml'}: context names {file}, which is no picture of the set; name one of {', '.join(files)}")
        if "{" in text or "}" in text:
            raise ValueError(f"{pictures / 'captions.yaml'}: the context of {file} is {text!r}; leave the braces and the word out")
    return {file: within_limit(pictures, f"the context of {file}", text, MOST_WORDS_OF_CONTEXT) for file, text in contexts.items()}


def captions_file(pictures: Path) -> Captions:
    """Return what captions.yaml holds; without one it holds nothing."""
    path = pictures / "captions.yaml"
    if not path.exists():
        return Captions()
    try:
        return Captions.model_validate(read_yaml(path))
    except ValidationError as error:
        raise ValueError(f"{path} must hold three entries at most, `short: TEXT`, `long: TEXT` and `context: {{FILE: TEXT, ...}}`") from error


def within_limit(pictures: Path, what: str, text: str, most: int) -> str:
    """Return a text with single spaces; raise a ValueError unless it has 1 to `most` words."""
    if not 1 <= len(text.split()) <= most:
        raise ValueError(f"{pictures / 'captions.yaml'}: {what} has {len(text.split())} words; give it 1 to {most}")
    return " ".join(text.split())
