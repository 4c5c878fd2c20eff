"""The graph as this wordmint declares it: its stages, what each computes, and whether a catalog's dvc.yaml is the same."""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from tasks.shipped import shipped

STAGES = ("curate", "invert", "sample", "score", "register")
"""The stages of a concept in the graph's order."""
EDITION = re.compile(r"--edition (\d+)")
OLD_NUMBERS = "tasks/versions.yaml"  # where editions stood before they stood in dvc.yaml


@lru_cache
def declared() -> dict[str, Any]:
    """Return stage -> its declaration in the dvc.yaml that comes with wordmint."""
    return read_stages(shipped("dvc.yaml"))


def read_stages(path: Path) -> dict[str, Any]:
    """Return stage -> its declaration in a dvc.yaml."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader).get("stages") or {}


def edition(stage: str) -> int:
    """Return the edition of a stage: the number of what it computes, which is raised when its results change, and only then."""
    definition = declared()[stage]
    found = EDITION.search(definition.get("do", definition)["cmd"])
    assert found is not None
    return int(found[1])


def refuse_another_graph(root: Path = Path()) -> None:
    """Stop where a catalog's graph is not the one that this wordmint runs. Further stages are its owner's.

    Raises:
        ValueError: a stage of ours is declared in another way, or dvc.lock is of a release that kept editions elsewhere.
    """
    path, lock = root / "dvc.yaml", root / "dvc.lock"
    here = read_stages(path) if path.exists() else {}
    other = [name for name, definition in declared().items() if name in here and here[name] != definition]
    if other:
        raise ValueError(f"dvc.yaml declares {', '.join(other)} in another way than this wordmint; `wordmint upgrade` shows how and mends it")
    if lock.exists() and OLD_NUMBERS in lock.read_text(encoding="utf-8"):
        raise ValueError("dvc.lock was written by an older wordmint; `wordmint upgrade` brings it here, and nothing is built anew for that")
