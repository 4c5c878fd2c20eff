"""From a picture to the versions that were learned from it."""

from pathlib import Path
from typing import Any

from tasks import artifacts
from tasks.pipeline import repository, storage
from tasks.registry import connection, reading


def versions_of(picture: Path) -> dict[str, list[dict[str, Any]]]:
    """Return every version whose picture set has this very file, and every one whose set cannot be had to look into.

    Each is {concept, version, file}; `file` is the picture's name in the set, or why the set cannot be had.
    """
    wanted = artifacts.md5(picture)
    found: dict[str, list[dict[str, Any]]] = {"versions": [], "unknown": []}
    with repository.open_repo() as repo:
        for version in reading.minted(f"name LIKE '{connection.PREFIX}%'"):
            facts = {"concept": version.name.removeprefix(connection.PREFIX), "version": int(version.version)}
            try:
                files = storage.recorded_files(repo, version.tags["dataset_digest"])
            except (ValueError, KeyError) as error:
                found["unknown"].append(facts | {"file": str(error)})
                continue
            found["versions"] += [facts | {"file": name} for name, md5 in files.items() if md5 == wanted]
    return found
