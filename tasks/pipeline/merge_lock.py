"""Merge dvc.lock stage by stage.

An entry is what one side recorded, whole. DVC compares it with the merged params.yaml and pictures: an entry that does not fit them is stale, and a
build finds the other side's result in the run-cache.
"""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import yaml

HEAD = "schema: '2.0'\nstages:"
WHOLE = re.compile(rf"{HEAD}(?: {{}})?\n(?:  .*\n)*")


def stage_entries(text: str) -> dict[str, str]:
    """Return stage -> the lines of its entry in a dvc.lock; a YAML parser takes seconds for a thousand concepts."""
    entries = re.split(r"^(?=  \S)", text, flags=re.MULTILINE)[1:]
    return {entry[: entry.index(":")].strip(): entry for entry in entries}


def merge_lock(base: str, ours: str, theirs: str) -> str:
    """Return the merged dvc.lock.

    Raises:
        ValueError: a version is not a dvc.lock of stages alone.
    """
    for text, name in ((base, "the common version"), (ours, "our version"), (theirs, "their version")):
        if text and not WHOLE.fullmatch(text):
            raise ValueError(f"{name} is not laid out as DVC and wordmint write it")
    old, mine, other = map(stage_entries, (base, ours, theirs))
    names, chosen = [*mine, *(name for name in other if name not in mine)], dict[str, str]()
    merged = [merge_entry(old.get(name), mine.get(name), other.get(name), chosen) for name in names]
    stages = "".join(entry for entry in merged if entry)
    return f"{HEAD}\n{stages}" if stages else f"{HEAD} {{}}\n"


def merge_entry(base: str | None, ours: str | None, theirs: str | None, chosen: dict[str, str]) -> str | None:
    """Return the entry of one stage, which None lacks; of two changed ones that whose inputs are the merged ones, and ours if neither is.

    chosen: path of an output -> the side whose result it is, of the stages that both sides changed; a stage finds there what it depends on.
    """
    if ours == theirs or theirs == base:
        return ours
    if ours == base:
        return theirs
    if ours is None or theirs is None:
        return ours or theirs
    entry = {"ours": parsed(ours), "theirs": parsed(theirs)}
    side = fitting(inputs(parsed(base) if base else {}), inputs(entry["ours"]), inputs(entry["theirs"]), chosen)
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


def parsed(entry: str) -> dict[str, Any]:
    (value,) = yaml.load(entry, Loader=yaml.CSafeLoader).values()
    return value
