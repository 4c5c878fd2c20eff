"""What the page of a concept shows, and what it can do to it: the same functions as the commands."""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

from flows.ui.drawings import few_at_once
from flows.ui.gallery import notice, pictures_of
from flows.ui.imports import import_models
from flows.ui.memory import let_go
from tasks import artifacts
from tasks.drawing import plots
from tasks.drawing.curve import loss_plot
from tasks.inversion.curves import TRAINING, read_curves
from tasks.pipeline.device import device_turn
from tasks.pipeline.progress import heard_by
from tasks.registry import connection
from tasks.registry.connection import tracking_uri
from tasks.settings import Settings, load_settings
from tasks.versions.records import in_registry

COMPARISON_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"  # the page has its style and pictures in it
)
ONE_AT_A_TIME = threading.Lock()  # decisions of two threads could leave the record of the first
SCORING = threading.Lock()
PATIENCE = 60  # s that a scoring waits for the device; a build may hold a GPU for hours


@contextmanager
def deciding(concept: str) -> Iterator[Settings]:
    """Do what `in_registry` does, after the app's other threads that change something."""
    with ONE_AT_A_TIME, in_registry(concept) as settings:
        yield settings


def facts(key: str, settings: Settings) -> dict[str, Any]:
    """Return what the page shows of a concept; what was not made yet is None or empty.

    Raises:
        ValueError: there is no such concept.
    """
    concept = settings.concept(key)
    paths = {
        "manifest": artifacts.manifest(key),
        "train": artifacts.train_record(key),
        "samples": artifacts.samples_record(key),
        "score": artifacts.scores(key),
        "registered": artifacts.registered(key),
    }
    found = {name: artifacts.read_json_if_there(path) for name, path in paths.items()}
    try:
        versions, unreachable = history(key, settings), ""
    except OSError as error:  # the rest of the page needs no registry
        versions, unreachable = None, str(error)
    return {
        "key": key,
        **concept.model_dump(),
        **found,
        "notice": notice(found["registered"] or {}),
        "pictures": verdicts(key, found["manifest"]),
        "prompts": prompts(key, found["samples"], found["score"]),
        "curve": loss_plot(read_curves(artifacts.embeddings(key) / TRAINING), found["train"]) if found["train"] else None,
        "bullets": plots.bullets(found["score"]) if found["score"] else {},
        "history": versions,
        "unreachable": unreachable,
    }


def verdicts(key: str, manifest: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return {name, verdict, context} of each picture; the verdict is None before the curate stage has judged it, "" for one that it kept."""
    judged = {entry["source"]: entry for entry in (manifest or {"pictures": []})["pictures"]}
    names = list(dict.fromkeys([*pictures_of(key), *judged]))
    return [
        {
            "name": name,
            "verdict": None if name not in judged else judged[name].get("reason", ""),
            "context": judged.get(name, {}).get("context", ""),
        }
        for name in names
    ]


def prompts(key: str, samples: Mapping[str, Any] | None, score: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return {prompt, slug, seeds, scores} of each prompt, with the seeds whose pictures this clone has."""
    scored = {row["prompt"]: row for row in score["prompts"]} if score else {}
    found = []
    for row in samples["prompts"] if samples else ():
        folder = artifacts.samples(key) / "word" / row["slug"]
        seeds = sorted(int(path.stem) for path in folder.glob("*.png") if path.stem.isdigit())
        found.append({**row, "seeds": seeds, "scores": scored.get(row["prompt"], {})})
    return found


def history(key: str, settings: Settings) -> dict[str, Any] | None:
    """Return the versions and the decisions about them, newest first; None before the first version."""
    from tasks.registry import lifecycle

    if not connection.exists(tracking_uri(settings)):
        return None
    with in_registry(key, changes=False):
        found = lifecycle.past(key)
    if not found["versions"]:
        return None
    return found | {"versions": found["versions"][::-1], "events": found["events"][::-1]}


def promote(key: str, version: int | None, why: str) -> str:
    from tasks.registry import lifecycle

    number, decision = lifecycle.promote(key, version, why)
    if not decision.promote:
        raise ValueError(f"{key} v{number} is not promoted: {decision.reason}")
    return f"v{number} is champion: {decision.reason}"


def rollback(key: str, version: int | None, why: str) -> str:
    from tasks.registry import lifecycle

    number, replaced = lifecycle.rollback(key, why)
    return f"v{number} is champion again" + (f", v{replaced} is previous" if replaced else "")


def revoke(key: str, version: int | None, why: str) -> str:
    from tasks.registry import lifecycle

    lifecycle.revoke(key, why)
    return f"{key} is revoked"


def reinstate(key: str, version: int | None, why: str) -> str:
    from tasks.registry import lifecycle

    lifecycle.reinstate(key, why)
    return f"{key} is back"


ACTIONS: dict[str, Callable[[str, int | None, str], str]] = {
    "promote": promote,
    "rollback": rollback,
    "revoke": revoke,
    "reinstate": reinstate,
}


def comparison(key: str, one: int, two: int) -> str:
    """Return the page of two versions side by side, as `wordmint diff` writes it.

    Raises:
        ValueError: the concept has no such version.
    """
    from tasks.versions.comparison import compare

    with tempfile.TemporaryDirectory() as folder, in_registry(key, changes=False):
        page = Path(folder) / "comparison.html"
        compare(key, one, two, page)
        return page.read_text(encoding="utf-8")


def rescore(key: str, version: int | None, ends: Callable[[], bool]) -> str:
    """Sample and score a version anew, as `wordmint rescore` does, and return what the scores are. Decisions do not wait for it.

    ends: says whether the app is ending, which a scoring would hold up for minutes.

    Raises:
        ValueError: another version is being scored, the device stays busy, the app ends, or see `rescore`.
    """

    def go_on(*progress: Any) -> None:
        if ends():
            raise ValueError("the app ended before this was scored")

    import_models()
    from tasks.versions.rescore import rescore

    if not SCORING.acquire(blocking=False):
        raise ValueError("a version is being scored; score the next one when it has ended")
    try:
        device = load_settings().runtime.device
        with device_turn(device, patience(go_on)), in_registry(key, changes=False) as settings, heard_by(go_on):
            try:
                rescored = rescore(key, few_at_once(settings), version)
            finally:
                let_go(device)
                with deciding(key):  # not before: a scoring takes minutes
                    pass  # the record follows the aliases that it moved
    finally:
        SCORING.release()
    return f"v{rescored['version']}: " + ", ".join(f"{name} {score['value']:.3f}" for name, score in rescored["scores"].items())


def patience(go_on: Callable[[], None]) -> Callable[[], None]:
    """Return what to call while the device is busy; after PATIENCE it raises a ValueError."""
    until = time.monotonic() + PATIENCE

    def waiting() -> None:
        go_on()
        if time.monotonic() > until:
            raise ValueError("the device is busy with a build or a drawing; score when that has ended")

    return waiting


def exported(key: str, style: str, settings: Settings) -> tuple[str, bytes]:
    """Return the name and the bytes of a concept's champion in the format of another tool; several files come as one zip archive.

    Raises:
        ValueError: there is no such version or format, or the format has no layout for this word.
    """
    import_models()
    from tasks.using.export import export_word
    from tasks.words.formats import FOLDERS, FORMATS

    if style not in FORMATS:
        raise ValueError(f"format {style!r} is unknown; choose one of {', '.join(FORMATS)}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / key
        if style not in FOLDERS:
            folder.mkdir()
        export_word(key, style, folder, settings)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        if len(files) == 1:
            return files[0].name, files[0].read_bytes()
        archive = BytesIO()
        with ZipFile(archive, "w", ZIP_DEFLATED) as packed:
            for path in files:
                packed.write(path, path.relative_to(folder.parent))
    return f"{key}-{style}.zip", archive.getvalue()
