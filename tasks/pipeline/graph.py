"""The graph that this wordmint declares: its stages, their editions, and whether a catalog's dvc.yaml is the same."""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from tasks.documents import read_yaml
from tasks.shipped import shipped

STAGES = ("curate", "invert", "sample", "score", "register")
"""The stages of a concept in the graph's order."""
EDITION = re.compile(r"--edition (\d+)")
OLD_NUMBERS = "tasks/versions.yaml"  # older releases kept the editions here


@lru_cache
def declared() -> dict[str, Any]:
    """Return stage -> its declaration in the dvc.yaml that comes with wordmint."""
    return read_stages(shipped("dvc.yaml"))


def read_stages(path: Path) -> dict[str, Any]:
    """Return stage -> its declaration in a dvc.yaml."""
    return (read_yaml(path) or {}).get("stages") or {}


def edition(stage: str) -> int:
    """Return the edition of a stage: a number that is raised when the stage's results change, and only then."""
    definition = declared()[stage]
    match = EDITION.search(definition.get("do", definition)["cmd"])
    assert match is not None
    return int(match[1])


def refuse_another_graph(root: Path = Path()) -> None:
    """Stop if a catalog's graph is not the one that this wordmint runs. The owner may add further stages.

    Raises:
        ValueError: one of our stages is declared differently, or dvc.lock comes from a release that kept editions elsewhere.
    """
    path, lock = root / "dvc.yaml", root / "dvc.lock"
    stages = read_stages(path) if path.exists() else {}
    changed = [name for name, definition in declared().items() if name in stages and stages[name] != definition]
    if changed:
        raise ValueError(f"dvc.yaml declares {', '.join(changed)} differently from this wordmint; `wordmint upgrade` shows how and mends it")
    if lock.exists() and OLD_NUMBERS in lock.read_text(encoding="utf-8"):
        raise ValueError("dvc.lock was written by an older wordmint; `wordmint upgrade` converts it without a rebuild")
