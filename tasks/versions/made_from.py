"""From a picture to the versions that were learned from it."""

from pathlib import Path
from typing import Any

from tasks import artifacts
from tasks.pipeline import repository, storage
from tasks.registry import connection, reading


def versions_of(picture: Path) -> dict[str, list[dict[str, Any]]]:
    """Return {versions, unknown}: the versions whose picture set has this very file, and those whose set cannot be read.

    Each is {concept, version, file}; `file` is the picture's name in the set, or the reason why the set cannot be read.
    """
    wanted = artifacts.md5(picture)
    matches: dict[str, list[dict[str, Any]]] = {"versions": [], "unknown": []}
    with repository.open_repo() as repo:
        for version in reading.minted(f"name LIKE '{connection.PREFIX}%'"):
            facts = {"concept": version.name.removeprefix(connection.PREFIX), "version": int(version.version)}
            try:
                files = storage.recorded_files(repo, version.tags["dataset_digest"])
            except (ValueError, KeyError) as error:
                matches["unknown"].append(facts | {"file": str(error)})
                continue
            matches["versions"] += [facts | {"file": name} for name, md5 in files.items() if md5 == wanted]
    return matches
