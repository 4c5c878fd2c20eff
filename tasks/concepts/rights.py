"""Whose a concept's pictures are: data/images/<concept>.yaml, which lies beside the picture set and which Git tracks.

DVC takes it for an input of the register stage alone: a change is published with the version and trains nothing.
"""

from pathlib import Path

import yaml
from pydantic import Field, ValidationError

from tasks import artifacts
from tasks.settings import Section

ASKED = ("source", "licence", "consent")


class Rights(Section):
    """The rights in a picture set, and in the word's file where a word was imported."""

    source: str = Field(default="", strict=True)
    """Who made them, or where they were found."""
    licence: str = Field(default="", strict=True)
    """Under which they may be used: an SPDX identifier, or words."""
    consent: str = Field(default="", strict=True)
    """The consent of the people in the pictures, or that the pictures show nobody."""
    undeclared: str = Field(default="", strict=True)
    """Why the ones above that are empty are not known, and the word is published all the same."""

    def tags(self) -> dict[str, str]:
        """Return what a version says of each."""
        return {name: getattr(self, name) or f"undeclared: {self.undeclared}" for name in ASKED}

    def missing(self) -> list[str]:
        """Return what is neither said nor excused."""
        return [] if self.undeclared.strip() else [name for name in ASKED if not getattr(self, name).strip()]


def read_rights(concept: str) -> Rights:
    """Return what is said of a concept's pictures.

    Raises:
        ValueError: something is not said, and neither is why not; or the file is not of this form.
    """
    path = artifacts.rights(concept)
    try:
        found = Rights.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.exists() else Rights()
    except (yaml.YAMLError, ValidationError) as error:
        raise ValueError(f"{path} takes the texts {', '.join(Rights.model_fields)} ({' '.join(str(error).split())})") from error
    if missing := found.missing():
        raise ValueError(
            f"concept {concept!r} is not published before {path} says the {', '.join(missing)} of its pictures; "
            "write that there, or `undeclared: REASON` to publish it all the same"
        )
    return found


def write_rights(path: Path, rights: Rights) -> None:
    artifacts.write_bytes(path, yaml.safe_dump(rights.model_dump(exclude_defaults=True), sort_keys=False, allow_unicode=True, width=150).encode())
