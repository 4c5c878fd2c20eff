"""What must hold in a catalog whatever broke it. Each invariant returns its violations in words.

`python -m tests.support.faults.invariants FAULTS` looks at the catalog in this folder after so many faults, and prints what it found as JSON.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from tasks import artifacts
from tasks.diffusion.base_model import load_base_model
from tasks.diffusion.ddim import generate
from tasks.pipeline import repository
from tasks.registry import connection, orphans, reading
from tasks.registry.connection import tracking_uri
from tasks.settings import Settings, load_settings
from tasks.versions.pruning import TEMPORARY
from tasks.words.learned import read_learned, taught

RESULTS = ("images", "curated", "embeddings", "samples", "scores", "registered")
TIMED = {"train.json"}  # it holds the seconds that the training took
STRAY = re.compile(rf"{TEMPORARY.pattern}|tmp\w+|\..+\.tmp")


def standing(settings: Settings) -> dict[str, Any]:
    """Return all that must be the same as in a run that nothing disturbed: the bytes of every result, and what the registry says."""
    files = sorted(path for name in RESULTS for path in (artifacts.DATA / name).rglob("*") if path.is_file())
    files = [path for path in files if path.name not in TIMED and not any(TEMPORARY.fullmatch(part) for part in path.parts)]
    with repository.open_repo() as repo:
        stale = sorted(repo.status())
    return {
        "files": {str(path): artifacts.sha256(path) for path in [*files, Path("params.yaml")]},
        "stale": stale,
        "registry": {concept: registry(concept) for concept in settings.concepts},
    }


def registry(concept: str) -> dict[str, Any]:
    kept = ("digest", "decision", reading.REVOKED, *("reconstruction", "editability"))
    versions = {row["version"]: {key: row["tags"].get(key) for key in kept} for row in reading.described(concept)}
    return {"aliases": reading.aliases(concept), "versions": versions, "revoked": reading.revocation(concept) is not None}


def aliases_draw(settings: Settings) -> Iterator[str]:
    """Every alias reaches a word that loads and draws a picture."""
    base = load_base_model(*settings.base_model)
    for concept in settings.concepts:
        for alias in reading.aliases(concept):
            try:
                path, tags = reading.published(concept, alias)
                with taught(base, [read_learned(path)]) as words:
                    (picture,) = generate(base, [f"a photo of {tags['placeholder_token']}"], [0], words, 2, 2.0, 1)
                if not all(tags.get(key) for key in ("reconstruction", "prompt_suite", "decision")):
                    yield f"{concept}@{alias} has no scores or no decision"
                picture.load()
            except Exception as error:
                yield f"{concept}@{alias} draws nothing: {error!r}"


def versions_are_whole(settings: Settings) -> Iterator[str]:
    """Every version has its bytes, and no two versions of a concept have the same."""
    for concept in settings.concepts:
        rows = reading.described(concept)
        for row in rows:
            try:
                reading.fetch(concept, row["version"])
            except Exception as error:
                yield f"{concept} v{row['version']} has lost its bytes: {error!r}"
        digests = [row["tags"]["digest"] for row in rows]
        if len(set(digests)) < len(digests):
            yield f"{concept} has two versions of the same bytes"


def history_is_true(settings: Settings) -> Iterator[str]:
    """Every line of the history names a version that is there, and the history explains every champion."""
    for concept in settings.concepts:
        numbers = {row["version"] for row in reading.described(concept)}
        events = reading.events(concept)
        for line in events:
            if line["version"] is not None and line["version"] not in numbers:
                yield f"the history of {concept} tells of a {line['event']} of v{line['version']}, which does not exist"
        champion = reading.aliases(concept).get(reading.CHAMPION)
        if champion and not any(line["version"] == champion for line in events):
            yield f"{concept} v{champion} is champion and the history does not say why"


def no_locks_block(settings: Settings) -> Iterator[str]:
    """No lock is held by a process that is gone."""
    database = connection.sqlite_file(tracking_uri(settings))
    registry = database.with_name(f".{database.name}.lock") if database else artifacts.CACHE / "registry.lock"
    for path in (registry, artifacts.CACHE / "params.lock", Path(".dvc/tmp/lock")):
        try:
            if path.exists():
                FileLock(path).acquire(timeout=1).lock.release()
        except Timeout:
            yield f"{path} is still held"
    rwlock = Path(".dvc/tmp/rwlock")
    locked = artifacts.read_json(rwlock) if rwlock.exists() else {}
    holders = [*locked.get("write", {}).values(), *(reader for readers in locked.get("read", {}).values() for reader in readers)]
    if alive := [holder for holder in holders if psutil.pid_exists(holder["pid"])]:  # DVC takes the others' locks away when it needs to
        yield f"{rwlock} still has {alive}"
    if Path(".dvc/tmp/wordmint-journal.jsonl").exists():
        yield "the journal is still there"


def few_strays(settings: Settings, faults: int) -> Iterator[str]:
    """At most one file or folder, and one run, is left half written by each fault, and pruning finds it.

    A folder that was being replaced leaves the old and the new one. What DVC leaves in its own folder is its affair.
    """
    from tasks.versions.pruning import leftovers

    strays = {path for path in Path().rglob("*") if STRAY.fullmatch(path.name) and not {".git", ".dvc"} & set(path.parts)}
    strays = {path for path in strays if not any(parent in strays for parent in path.parents)}
    places = {path.with_name(re.sub(r"\.\d+\.(tmp|old)$", "", path.name)) for path in strays}
    if len(places) > faults:
        yield f"{len(places)} half-written files after {faults} faults: {', '.join(map(str, sorted(strays)))}"
    found = {path for leftover in leftovers(settings, 0) for path in leftover.paths}
    if unseen := sorted(map(str, strays - found)):
        yield f"prune does not see {', '.join(unseen)}"
    if len(abandoned := orphans.orphans(-1)) > faults:
        yield f"{len(abandoned)} unfinished registrations after {faults} faults"


def look(faults: int) -> dict[str, Any]:
    """Return the standing of the catalog in this folder, and the violations of every invariant."""
    settings = load_settings()
    connection.connect(tracking_uri(settings))
    found = {"standing": standing(settings)}
    checks = [aliases_draw(settings), versions_are_whole(settings), history_is_true(settings), no_locks_block(settings), few_strays(settings, faults)]
    return found | {"violations": [violation for check in checks for violation in check]}


def differences(found: dict[str, Any], wanted: dict[str, Any], place: str = "") -> Iterator[str]:
    """Yield in words where two standings differ."""
    for key in sorted(found.keys() | wanted.keys(), key=str):
        one, other = found.get(key), wanted.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from differences(one, other, f"{place}{key}: ")
        elif one != other:
            yield f"{place}{key} is {one}, undisturbed {other}"


if __name__ == "__main__":
    print(json.dumps(look(int(sys.argv[1]))))
