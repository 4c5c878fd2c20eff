"""Merge dvc.lock stage by stage.

An entry is what one side recorded, whole. DVC compares it with the merged params.yaml and pictures: an entry that does not fit them is stale, and a
build finds the other side's result in the run-cache.
"""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from tasks.pipeline import lockfile


def merge_lock(base: str, ours: str, theirs: str) -> str:
    """Return the merged dvc.lock.

    Raises:
        ValueError: a version is not a dvc.lock of stages alone.
    """
    (old, mine, other), chosen = map(entries, (base, ours, theirs), ("the common version", "our version", "their version")), dict[str, str]()
    merged = {name: merge_entry(old.get(name), mine.get(name), other.get(name), chosen) for name in [*mine, *other]}
    return lockfile.joined({name: entry for name, entry in merged.items() if entry})


def entries(text: str, name: str) -> dict[str, str]:
    """Return the text of each entry of a version, which is empty where a side has no file."""
    if (texts := lockfile.split(text or lockfile.EMPTY)) is None:
        raise ValueError(f"{name} is not laid out as DVC and wordmint write it")
    return texts


def merge_entry(base: str | None, ours: str | None, theirs: str | None, chosen: dict[str, str]) -> str | None:
    """Return a stage's merged entry; None: a side lacks it. If both sides changed it, the one with the merged inputs wins, else ours.

    chosen: path of an output -> the side whose result it is, of the stages that both sides changed; a stage finds there what it depends on.
    """
    if ours == theirs or theirs == base:
        return ours
    if ours == base:
        return theirs
    if ours is None or theirs is None:
        return ours or theirs
    entry = {"ours": lockfile.parsed(ours), "theirs": lockfile.parsed(theirs)}
    side = fitting(inputs(lockfile.parsed(base) if base else {}), inputs(entry["ours"]), inputs(entry["theirs"]), chosen)
    if side:
        chosen.update({out["path"]: side for out in entry[side]["outs"]})
    return theirs if side == "theirs" else ours


def fitting(base: Mapping[str, Any], ours: Mapping[str, Any], theirs: Mapping[str, Any], chosen: Mapping[str, str]) -> str | None:
    """Return the side whose inputs are the merged ones, `ours` if both are; None if neither is."""
    sides = {"ours", "theirs"}
    for name in ours.keys() | theirs.keys():
        old, mine, other = (side.get(name) for side in (base, ours, theirs))
        if mine != other:
            changed = {"theirs"} if mine == old else {"ours"} if other == old else {producer(name, chosen)}
            sides &= changed
    return min(sides, default=None)


def producer(path: str, chosen: Mapping[str, str]) -> str | None:
    """Return the side that has the result at a path; None where that is not known, as of a setting that both sides changed."""
    return next((chosen[place] for place in (path, *map(str, PurePosixPath(path).parents)) if place in chosen), None)


def inputs(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that an entry says a stage ran on: its command, the digests of its dependencies and the values of its settings."""
    settings = {f"{file}:{name}": value for file, values in entry.get("params", {}).items() for name, value in values.items()}
    return {"cmd": entry.get("cmd")} | {dep["path"]: dep.get("md5") for dep in entry.get("deps", [])} | settings
