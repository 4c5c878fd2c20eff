"""What people compare of a concept: pictures of its versions, and of the texts that stand in for its word."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks import artifacts
from tasks.concepts.stand_ins import STAND_INS
from tasks.judging.sheets import SHEET, cut_sheet
from tasks.registry import reading
from tasks.registry.reading import CHALLENGER, CHAMPION, PREVIOUS
from tasks.settings import Settings

MOST = 5  # candidates of a concept: more pictures are hard to rank, and the paper's raters ranked five
WORDLESS = "prompt_only"


@dataclass(frozen=True)
class Candidate:
    """A version, or a text in the word's place, with the pictures that it drew."""

    name: str
    """Such as `v2` or `coarse word: teddy`. Answers to several questionnaires are added up by this name."""
    facts: Mapping[str, Any]
    """{version, digest} of a version, {kind, text} of a text."""
    pictures: Mapping[str, list[Path]]
    """Prompt -> pictures in the order of their seeds."""


def candidates(concept: str, settings: Settings, folder: Path) -> list[Candidate]:
    """Return what a concept has to compare: champion, challenger, previous, coarse word, captions, Prompt-Only, at most MOST of them.

    folder: where pictures that are cut out of a version's sheets are written.

    Raises:
        ValueError: the concept is revoked, or there are fewer than two candidates.
    """
    reading.refuse_revoked(concept)
    found = [*versions(concept, settings, folder), *texts(concept, settings)]
    shown = [candidate for candidate in found if any(candidate.pictures.values())][:MOST]
    if len(shown) < 2 or "version" not in shown[0].facts:
        raise ValueError(f"concept {concept!r} lacks a version or other pictures to compare; run `wordmint build {concept}` or `wordmint pull` first")
    return shown


def versions(concept: str, settings: Settings, folder: Path) -> Iterator[Candidate]:
    """Yield the versions that an alias reaches; one that was not built last on this machine is shown by its sheets."""
    record, aliases = artifacts.samples_record(concept), reading.aliases(concept)
    built = artifacts.read_json(record)["embedding_digest"] if record.exists() else None
    for number in dict.fromkeys(aliases[alias] for alias in (CHAMPION, CHALLENGER, PREVIOUS) if alias in aliases):
        digest = reading.tags(concept, number)["digest"]
        if digest == built:
            pictures = drawn(concept, "word", settings)
        else:
            own = folder / f"{concept}-v{number}"
            own.mkdir()
            sheets = {sheet.stem: sheet for sheet in reading.training(concept, number, own)[2]}
            slugs = {prompt: artifacts.prompt_slug(prompt) for prompt in settings.prompts(concept)}
            pictures = {prompt: cut_sheet(sheets[slug], own) for prompt, slug in slugs.items() if slug in sheets}
        yield Candidate(f"v{number}", {"version": number, "digest": digest}, pictures)


def texts(concept: str, settings: Settings) -> Iterator[Candidate]:
    """Yield the texts in the word's place that the last build drew."""
    record = artifacts.samples_record(concept)
    substitutes = artifacts.read_json(record)["references"] if record.exists() else {}
    for kind, label in STAND_INS.items():
        if kind in substitutes:
            facts = {"kind": kind, "text": substitutes[kind]}
            yield Candidate(f"{label}: {substitutes[kind]}", facts, drawn(concept, kind, settings))
    yield Candidate("Prompt-Only", {"kind": WORDLESS, "text": ""}, drawn(concept, WORDLESS, settings))


def drawn(concept: str, kind: str, settings: Settings) -> dict[str, list[Path]]:
    """Return prompt -> the first pictures of a kind that the last build drew, as many as a version's sheet has."""
    folders = {prompt: artifacts.samples(concept) / kind / artifacts.prompt_slug(prompt) for prompt in settings.prompts(concept)}
    return {prompt: sorted(folder.glob("*.png"))[:SHEET] for prompt, folder in folders.items()}
