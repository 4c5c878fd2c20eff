"""The new words of a prompt and the champion versions that they stand for."""

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from tasks.diffusion.strengths import without_strengths
from tasks.registry.connection import tracking_uri
from tasks.settings import Settings

if TYPE_CHECKING:  # importing torch takes seconds, and adding a concept does not need it
    from torch import Tensor

    from tasks.diffusion.base_model import BaseModel


logger = logging.getLogger(__name__)
DRAWN_WITH: ContextVar[dict[str, int]] = ContextVar("drawn_with")
"""Word -> the version of its champion, of the words that were put on the base model last."""


def words_in(prompt: str) -> list[str]:
    """Return the new words of a prompt, each once."""
    return list(dict.fromkeys(re.findall(r"<[^<>\s]+>", without_strengths(prompt))))


def owners_of(words: Sequence[str], settings: Settings) -> dict[str, str]:
    """Return the concept of each word.

    Raises:
        ValueError: no concept has such a word.
    """
    owners = {concept.placeholder_token: key for key, concept in settings.concepts.items()}
    for word in words:
        if word not in owners:
            raise ValueError(f"this catalog has no word {word}; {'it has ' + ' '.join(owners) if owners else 'add it with `wordmint add`'}")
    return {word: owners[word] for word in words}


@contextmanager
def champions(words: Sequence[str], base: "BaseModel", settings: Settings, any_base: bool = False) -> "Iterator[dict[str, Tensor]]":
    """Yield placeholder -> rows (vectors, dim) of the words' champions; the base model carries them, LoRAs too, while the block runs.

    Raises:
        ValueError: no concept has such a word, or a word was learned on another base model; `any_base` turns the latter into a warning.
    """
    from tasks.registry import connection, reading
    from tasks.words.learned import read_learned, taught

    owners = owners_of(words, settings)
    learned, versions = [], dict[str, int]()
    if owners:
        connection.connect(tracking_uri(settings))
    for word, owner in owners.items():
        path, tags = reading.published(owner)
        if tags["base_weights_sha256"] != base.identity["weights_sha256"]:
            mismatch = f"{word} was learned on base {tags['base_weights_sha256'][:12]}, this one is {base.identity['weights_sha256']:.12}"
            if not any_base:
                raise ValueError(f'{mismatch}; build it, then `wordmint promote {owner} --accept "REASON"`, or try it with --any-base')
            logger.warning("%s; its meaning here is not known", mismatch)
        learned.append(read_learned(path))
        if version := reading.find_version(owner, tags["digest"]):  # asked by its bytes: an alias may have moved meanwhile
            versions[word] = int(version.version)
    DRAWN_WITH.set(versions)
    with taught(base, learned) as rows:
        yield rows


def champion_versions(words: Sequence[str], settings: Settings) -> dict[str, int]:
    """Return the version of each word's champion now, without the words that have none."""
    from tasks.registry import connection, reading

    if not connection.exists(uri := tracking_uri(settings)):
        return {}
    connection.connect(uri)
    reached = {one.placeholder_token: reading.aliases(key) for key, one in settings.concepts.items() if one.placeholder_token in words}
    return {word: numbers[reading.CHAMPION] for word, numbers in reached.items() if reading.CHAMPION in numbers}
