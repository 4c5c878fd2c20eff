"""Asking people in the app: questionnaires are written and opened, answers are kept, and what they say is shown, as the commands do it."""

import base64
import hashlib
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from flows.ui.adding import told
from flows.ui.concept import ONE_AT_A_TIME
from flows.ui.gallery import notice
from tasks import artifacts
from tasks.inversion.section import SEEDS
from tasks.people import page
from tasks.pipeline.door import MENDABLE
from tasks.settings import Settings

ALLOWED = 0.25  # the share of attention checks that a rater may fail, as `wordmint answers` has it
KEY = re.compile(r"[0-9a-f]{16}")
INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


class NewQuestionnaire(BaseModel):
    """A questionnaire that a person asks for."""

    model_config = ConfigDict(extra="forbid")

    concepts: list[str] = Field(max_length=1_000)
    """Empty: every built concept."""
    items: int = Field(ge=1, le=1_000)
    checks: int = Field(ge=0, le=1_000)
    seed: int = Field(ge=0, le=SEEDS - 1)


class SentFile(BaseModel):
    """A file that a questionnaire saved."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(max_length=500)]
    """The client's name for it; it never reaches the disk."""
    text: Annotated[str, Field(max_length=2_000_000)]


class SentAnswers(BaseModel):
    """What raters answered."""

    model_config = ConfigDict(extra="forbid")

    files: list[SentFile] = Field(min_length=1, max_length=1_000)
    replace: bool
    """Take other answers of the same code in place of the earlier ones."""


def askable(settings: Settings) -> list[dict[str, Any]]:
    """Return {key, why} of every concept; `why` says why it cannot be asked about, and is empty for one that can."""
    found = []
    for key in settings.concepts:
        record = artifacts.read_json_if_there(artifacts.registered(key))
        why = "it has no version yet" if record is None else ""
        if (special := notice(record or {})) and special["state"] == "revoked":
            why = f"it is revoked: {special['why']}"
        elif record and not artifacts.samples_record(key).exists():
            why = "its samples are not on this machine; run `wordmint pull`"
        found.append({"key": key, "why": why})
    return found


def questionnaires() -> list[dict[str, Any]]:
    """Return {id, count, concepts, raters, here, why} of each questionnaire, the newest first.

    count: of items. raters: how many have answered it. here: whether its page is in this folder. why: what is wrong with its record, or "".
    """
    from tasks.people.answers import read_record
    from tasks.people.questionnaire import page_path

    paths = sorted(artifacts.questionnaire("*").parent.glob("*.json"), key=lambda path: (-path.stat().st_mtime, path.name))
    found = []
    for path in (path for path in paths if KEY.fullmatch(path.stem)):
        html, record, why = page_path(path.stem), dict[str, Any](items=[], candidates={}), ""
        try:
            record = read_record(path.stem, html)
        except ValueError as error:
            why = str(error)
        raters = {answers.name for answers in artifacts.answers("*").parent.glob(f"*/{path.stem}-*.json")}
        facts = {"id": path.stem, "count": len(record["items"]), "concepts": list(record["candidates"]), "raters": len(raters)}
        found.append(facts | {"here": html.exists(), "why": why})
    return found


def page_file(key: str) -> Path | None:
    """Return the page of a questionnaire, or None where this folder has none."""
    from tasks.people.questionnaire import page_path

    found = KEY.fullmatch(key) and artifacts.questionnaire(key).exists() and page_path(key).exists()
    return page_path(key) if found else None


def opened(path: Path, key: str, write_token: str) -> str:
    """Return the HTML of a questionnaire whose answers come to the app; without a write token it saves them as a file.

    The script is the one that this wordmint has: a script that somebody put into the file never runs in the app.

    Raises:
        ValueError: the page or its record was changed.
    """
    from tasks.people.answers import read_record

    return page.drawn(page.read_data(path, read_record(key, path)), write_token)


def policy(html: str) -> str:
    """Return the policy for a page that has its one script and its one style in it, and loads nothing."""
    allowed = {name: base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() for name, content in INLINE.findall(html)}
    return (
        f"default-src 'none'; script-src 'sha256-{allowed['script']}'; style-src 'sha256-{allowed['style']}'; img-src data:; "
        "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )


def write(new: NewQuestionnaire, settings: Settings) -> dict[str, Any]:
    """Write a questionnaire as `wordmint questionnaire` does and return {id, items}; raise what `write_questionnaire` raises."""
    from tasks.people.questionnaire import write_questionnaire

    with ONE_AT_A_TIME:
        written = write_questionnaire(new.concepts, settings, new.items, new.checks, new.seed, None)
    return {"id": written.id, "items": written.items}


def keep(sent: SentAnswers, settings: Settings) -> str:
    """Keep answers and write people's numbers on the versions, as `wordmint answers` does, and return what was done.

    Raises:
        ValueError: a file does not fit its questionnaire, or the same code gave other answers before; then nothing is kept.
    """
    from tasks.people import answers
    from tasks.people.opinion import opinion

    with tempfile.TemporaryDirectory() as folder, ONE_AT_A_TIME:
        paths = [Path(folder) / f"{number}.json" for number in range(len(sent.files))]
        for path, file in zip(paths, sent.files, strict=True):
            path.write_text(file.text, encoding="utf-8")
        try:
            concepts, new = answers.keep(paths, sent.replace)
        except ValueError as error:
            names = {str(path): file.name for path, file in zip(paths, sent.files, strict=True)}
            raise ValueError(told(str(error), names)) from error
        said = f"{new} new" if new else "nothing new: these answers were kept before"
        try:
            opinion(concepts, settings, ALLOWED)
        except MENDABLE as error:  # the answers are kept, and the next ones write the numbers
            return f"{said}; the numbers are not on the versions yet: {error}"
    return said


def opinions(settings: Settings) -> dict[str, Any] | None:
    """Return what the answers on this machine say, as `heard` does, or None where there are none; writes nothing."""
    concepts: Sequence[str] = [key for key in settings.concepts if any(artifacts.answers(key).glob("*.json"))]
    if not concepts:
        return None
    from tasks.people.opinion import heard  # scipy and mlflow take seconds to import

    return heard(concepts, settings, ALLOWED)
