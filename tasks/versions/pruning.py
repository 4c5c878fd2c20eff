"""Leftovers that can be deleted: interrupted registrations, half-written files, checkpoints of concepts that are gone.

A version and what it was made from are never listed, nor is anything that an alias reaches or DVC tracks.
"""

import os
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks import artifacts
from tasks.pipeline import repository
from tasks.pipeline.superseded import superseded
from tasks.registry import connection, orphans
from tasks.registry.connection import tracking_uri
from tasks.settings import Settings

TEMPORARY = re.compile(r"\..+\.\d+\.(tmp|old|moves)")  # as artifacts.py, repository.py, checkpoints.py and rescore.py name them
CHECKPOINT = re.compile(r"(.+)-[0-9a-f]{16}(?:\.[a-z]+)?\.pt")  # as training/company.py names them


@dataclass(frozen=True)
class Leftover:
    """Something that nothing needs."""

    what: str
    why: str
    paths: Sequence[Path] = ()
    orphan: dict[str, Any] = field(default_factory=dict)
    """One of `orphans.orphans`, if the leftover is in MLflow and has no paths."""


def leftovers(settings: Settings, minutes: float) -> list[Leftover]:
    """Return the leftovers that were not written for `minutes`; younger ones may still be in use, here or on another machine."""
    found = [Leftover(str(path), "half written", [path]) for path in temporary_files() if idle(path, minutes)]
    for path in sorted(artifacts.checkpoints().glob("*.pt")):
        match = CHECKPOINT.fullmatch(path.name)
        if match and match[1] not in settings.concepts and idle(path, minutes):
            found.append(Leftover(str(path), f"checkpoint of {match[1]}, which params.yaml does not have", [path]))
    uri = tracking_uri(settings)
    if connection.exists(uri):
        connection.connect(uri)
        for orphan in orphans.orphans(minutes):
            found.append(Leftover(f"MLflow run {orphan['run_id']}", f"{orphan['name']} of {orphan['created']} was never registered", orphan=orphan))
    return found


def replaced_results(settings: Settings, minutes: float) -> list[Leftover]:
    """Return the results that later ones replaced, as one leftover, if `superseded` names files that were not written for `minutes`."""
    with repository.open_repo() as repo:
        paths = [path for path in superseded(repo, settings) if idle(path, minutes)]
    size = sum(path.stat().st_size for path in paths) / 2**20
    why = "replaced results; no commit, no version and nothing on disk names them; a build from these inputs would run again"
    return [Leftover(f"{len(paths)} files of DVC's cache, {size:.1f} MiB", why, paths)] if paths else []


def temporary_files() -> list[Path]:
    """Return the temporary files and folders in the catalog's root and below the folders that wordmint writes to, but none among the pictures."""
    root, images = Path(), artifacts.DATA / "images"
    folders = [path for path in artifacts.DATA.glob("*") if path.is_dir() and path.name not in ("images", "base")]
    places = [root, artifacts.DATA, images, *folders, artifacts.CACHE, artifacts.references(), artifacts.checkpoints()]
    direct = [path for folder in places for path in folder.glob(".*")]
    nested = [path for folder in folders for path in folder.glob("*/.*")]
    return sorted({path for path in direct + nested if TEMPORARY.fullmatch(path.name)})


def idle(path: Path, minutes: float) -> bool:
    """Tell whether nothing was written at or below a path for `minutes`."""
    newest = max(os.lstat(entry).st_mtime for entry in [path, *path.rglob("*")])
    return newest < time.time() - 60 * minutes


def delete(unneeded: Sequence[Leftover]) -> None:
    """Delete leftovers: files, folders, and MLflow's runs with their artifacts."""
    for leftover in unneeded:
        if leftover.orphan:
            orphans.delete_orphan(leftover.orphan)
        for path in leftover.paths:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
