"""Which concepts are as they were when DVC last found them up to date; DVC takes long to check a thousand unchanged ones again.

Like DVC's own state database, a fingerprint trusts a file whose size, time and inode are the same. DVC still decides about every
concept whose fingerprint is new or changed.
"""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tasks import artifacts
from tasks.pipeline import lockfile
from tasks.pipeline.graph import declared
from tasks.registry import connection
from tasks.registry.connection import tracking_address, tracking_uri
from tasks.settings import Settings, read_params

PathState = tuple[str, int, int, int]
"""Path, size, time in ns and inode."""
RECORD = artifacts.CACHE / "up-to-date.json"
REPORT = "report"
# With `{}` for the concept: joining paths takes forty times as long as formatting strings.
FOLDERS = [str(folder("{}")) for folder in (artifacts.images, artifacts.curated, artifacts.embeddings, artifacts.samples)]
FILES = [str(file("{}")) for file in (artifacts.rights, artifacts.scores, artifacts.registered)]
DRAWN = [str(artifacts.page("{}")), str(artifacts.CURVES / "{}")]
CARD = str(artifacts.card("{}"))


def nothing_to_do(settings: Settings, concepts: Sequence[str] | None) -> bool:
    """Tell without DVC whether a build of these concepts, or of all, would find nothing to do; True is certain, False is not."""
    now = fingerprints_of(list(settings.concepts))
    needed = {concept: now[concept] for concept in concepts or now} | report_fingerprints(now)
    return connection.exists(tracking_uri(settings)) and not changed(needed)


def changed(now: Mapping[str, str]) -> list[str]:
    """Return the names whose fingerprints differ from the remembered ones."""
    remembered = artifacts.read_json_if_there(RECORD) or {}
    return [name for name, digest in now.items() if remembered.get(name) != digest]


def remember(now: Mapping[str, str]) -> None:
    """Keep fingerprints that were taken *before* DVC checked and found nothing stale."""
    artifacts.write_json(RECORD, (artifacts.read_json_if_there(RECORD) or {}) | dict(now))


def fingerprints_of(concepts: Sequence[str]) -> dict[str, str]:
    """Return a digest per concept of its parameters, its part of dvc.lock, the state of its files and the registry's address."""
    params, locked = read_params(), recorded()
    address = tracking_address(params.get("runtime", {}).get("tracking_uri"))
    others = {section: content for section, content in params.items() if section not in ("concepts", "runtime")}
    shared = digest_of(others, address, Path("dvc.yaml").read_text(encoding="utf-8"), declared())
    return {concept: digest_of(shared, params["concepts"].get(concept), locked[concept], list(states(concept))) for concept in concepts}


def report_fingerprints(concepts: Mapping[str, str], known: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """Return the digest of each concept's page under `page@<concept>`, and that of the report's index under `REPORT`.

    concepts: the fingerprints of all concepts, which the report shows. known: the digests of the pages that need no second look.
    """
    locked = recorded()
    pages = {page: known[page] for page in (f"page@{concept}" for concept in concepts) if page in known}
    for concept, digest in concepts.items():
        if f"page@{concept}" in pages:
            continue
        drawn = [*(state for folder in DRAWN for state in folder_states(folder.format(concept))), *file_states(CARD.format(concept))]
        pages[f"page@{concept}"] = digest_of(digest, locked[f"page@{concept}"], drawn)
    index = [*file_states(artifacts.REPORT / "index.html"), *folder_states(artifacts.REPORT / "pictures")]
    return pages | {REPORT: digest_of(pages, locked[REPORT], index)}


def digest_of(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def recorded() -> Mapping[str, str]:
    """Return a digest of each concept's entries in dvc.lock, of each page's under `page@<concept>`, and of the report's under `REPORT`."""
    return digests(tuple(file_states(lockfile.LOCK))).copy()  # asking for one may add it


@lru_cache(maxsize=1)
def digests(states: tuple[PathState, ...]) -> defaultdict[str, str]:
    """Return the digests of dvc.lock, read once for each of its states; a text that cannot be split counts as the entry of each."""
    text = lockfile.LOCK.read_text(encoding="utf-8") if states else lockfile.EMPTY
    texts = lockfile.split(text)
    if texts is None:
        whole = digest_of(text)
        return defaultdict(lambda: whole)
    entries = defaultdict[str, Any](hashlib.sha256)
    for stage, entry in texts.items():
        entries[stage if stage.startswith("page@") else stage.partition("@")[2] or stage].update(entry.encode())
    return defaultdict(str, {name: entry.hexdigest() for name, entry in entries.items()})


def states(concept: str) -> Iterator[PathState]:
    """Yield the state of every file that a stage of the concept reads or writes."""
    for folder in FOLDERS:
        yield from folder_states(folder.format(concept))
    yield from file_states(*(file.format(concept) for file in FILES))


def file_states(*files: str | Path) -> Iterator[PathState]:
    """Yield the state of each file that exists."""
    for file in files:
        with suppress(FileNotFoundError, NotADirectoryError):
            yield state(str(file), os.stat(file))


def folder_states(folder: str | Path) -> Iterator[PathState]:
    """Yield the state of every file in a folder and below it; none if it is no folder. Strings instead of paths halve the time."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from folder_states(entry.path)
        else:
            with suppress(FileNotFoundError):  # a build may be replacing it; a broken link is a state too
                yield state(entry.path, entry.stat(follow_symlinks=not entry.is_symlink() or os.path.exists(entry.path)))


def state(path: str, status: os.stat_result) -> PathState:
    return path, status.st_size, status.st_mtime_ns, status.st_ino
