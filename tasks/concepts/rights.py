"""Whose a concept's pictures are: data/images/<concept>.yaml, which lies beside the picture set and which Git tracks.

It is a dependency of the register stage alone: a change is published with the version and retrains nothing.
"""

from pathlib import Path

from pydantic import Field, ValidationError

from tasks import artifacts
from tasks.documents import as_yaml, read_yaml
from tasks.settings import Section

DECLARATIONS = ("source", "licence", "consent")
NOTHING_SAID = ("", "y", "yes", "n", "no", "on", "off", "true", "false")
"""`consent: no` can mean that nobody agreed, and that nobody had to."""


class Rights(Section):
    """The rights in a picture set, and in the word's file where a word was imported."""

    source: str = Field(default="", strict=True)
    """Who made the pictures, or where they were found."""
    licence: str = Field(default="", strict=True)
    """The licence under which they may be used: an SPDX identifier, or words."""
    consent: str = Field(default="", strict=True)
    """The consent of the people in the pictures, or that the pictures show nobody."""
    undeclared: str = Field(default="", strict=True)
    """Why the empty ones above are unknown; the word is then published all the same."""

    def tags(self) -> dict[str, str]:
        """Return the tags of a version, one for each declaration."""
        return {name: getattr(self, name) if self.says(name) else f"undeclared: {self.undeclared}" for name in DECLARATIONS}

    def missing(self) -> list[str]:
        """Return the declarations that say nothing, without a reason."""
        return [] if self.says("undeclared") else [name for name in DECLARATIONS if not self.says(name)]

    def says(self, name: str) -> bool:
        return getattr(self, name).strip().casefold() not in NOTHING_SAID


def read_rights(concept: str) -> Rights:
    """Return the declared rights in a concept's pictures.

    Raises:
        ValueError: a declaration says nothing, without a reason, or the file is not of this form.
    """
    path = artifacts.rights(concept)
    try:
        rights = Rights.model_validate(read_yaml(path) or {}) if path.exists() else Rights()
    except ValidationError as error:
        raise ValueError(f"{path} takes the texts {', '.join(Rights.model_fields)} ({' '.join(str(error).split())})") from error
    if missing := rights.missing():
        raise ValueError(
            f"concept {concept!r} is not published until {path} has the {', '.join(missing)} of its pictures in words; "
            "write that there, or `undeclared: REASON` to publish it all the same"
        )
    return rights


def write_rights(path: Path, rights: Rights) -> None:
    artifacts.write_bytes(path, as_yaml(rights.model_dump(exclude_defaults=True)).encode())
