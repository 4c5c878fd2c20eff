"""Which concepts are as they were when DVC last found them up to date: a thousand unchanged ones are not asked about again.

Like DVC's own state database it trusts a file whose size, time and inode are the same. It only ever saves a question: what is
changed, or unknown, DVC decides.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks import artifacts
from tasks.pipeline.graph import declared
from tasks.registry import connection
from tasks.registry.connection import tracking_address, tracking_uri
from tasks.settings import Settings, read_params

RECORD = artifacts.CACHE / "up-to-date.json"
REPORT = "report page"  # a name with a space, which no concept has


def nothing_to_do(settings: Settings, concepts: Sequence[str] | None) -> bool:
    """Tell, without DVC, that a build of these or all concepts would find nothing to do; False may be wrong, True is not."""
    now = fingerprints_of(list(settings.concepts))
    asked = {concept: now[concept] for concept in concepts or now} | report_fingerprint(now)
    return connection.exists(tracking_uri(settings)) and not changed(asked)


def changed(now: Mapping[str, str]) -> list[str]:
    """Return the names whose fingerprints are not those that were remembered."""
    known = artifacts.read_json(RECORD) if RECORD.exists() else {}
    return [name for name, digest in now.items() if known.get(name) != digest]


def remember(now: Mapping[str, str]) -> None:
    """Keep fingerprints that were taken *before* DVC was asked and found nothing stale."""
    artifacts.write_json(RECORD, (artifacts.read_json(RECORD) if RECORD.exists() else {}) | dict(now))


def fingerprints_of(concepts: Sequence[str]) -> dict[str, str]:
    """Return one digest for each concept over its parameters, its part of dvc.lock, the state of its files and the registry's address."""
    params, locked = read_params(), lock_entries()
    chosen = params.pop("concepts")
    address = tracking_address(params.pop("runtime", {}).get("tracking_uri"))
    shared = [params, address, Path("dvc.yaml").read_text(encoding="utf-8"), declared()]
    digest = hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()
    return {concept: of(digest, chosen.get(concept), locked.get(concept, ""), list(states(concept))) for concept in concepts}


def report_fingerprint(concepts: Mapping[str, str]) -> dict[str, str]:
    """Return the digest of the report under `REPORT`; `concepts` are the fingerprints of all concepts, which it shows."""
    return {REPORT: of(dict(concepts), lock_entries().get("report", ""), list(tree(artifacts.REPORT)))}


def of(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def lock_entries(path: Path = Path("dvc.lock")) -> dict[str, str]:
    """Return the text of dvc.lock by concept, and the report's; reading it as YAML takes seconds for a thousand concepts."""
    entries: dict[str, list[str]] = {}
    if not path.exists():
        return {}
    for entry in re.split(r"^(?=  \S)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        name = entry[: entry.index(":")].strip()
        entries.setdefault(name.partition("@")[2] or name, []).append(entry)
    return {name: "".join(found) for name, found in entries.items()}


def states(concept: str) -> Iterator[tuple[str, int, int, int]]:
    """Yield path, size, time and inode of every file that a stage of the concept reads or writes."""
    for folder in (artifacts.images(concept), artifacts.curated(concept), artifacts.embeddings(concept), artifacts.samples(concept)):
        yield from tree(folder)
    for file in (artifacts.rights(concept), artifacts.scores(concept), artifacts.registered(concept)):
        if file.exists():
            status = file.stat()
            yield str(file), status.st_size, status.st_mtime_ns, status.st_ino


def tree(folder: Path) -> Iterator[tuple[str, int, int, int]]:
    if not folder.is_dir():
        return
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir(follow_symlinks=False):
            yield from tree(Path(entry.path))
        else:
            status = entry.stat(follow_symlinks=not entry.is_symlink() or os.path.exists(entry.path))  # a broken link is a state too
            yield entry.path, status.st_size, status.st_mtime_ns, status.st_ino
