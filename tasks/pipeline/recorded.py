"""What dvc.lock and the .dvc files record: which outputs the catalog has, and the md5 of each.

DVC's own push and pull build an index of the whole repository, in time that grows with the square of its outputs. The records have the same hashes.
"""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tasks.documents import read_yaml
from tasks.pipeline.catalog_repo import CatalogRepo
from tasks.pipeline.graph import declared
from tasks.pipeline.lockfile import Entries

PLAIN = {"md5", "size", "nfiles", "hash", "path"}
"""The keys of an output that lies in the cache and belongs in the default remote."""


@dataclass(frozen=True)
class Out:
    """A file or folder as it was recorded."""

    path: str
    """From the root of the catalog."""
    md5: str
    """Of the file, or `.dir` behind that of a folder's list of files."""


@dataclass(frozen=True)
class Records:
    """All outputs of a catalog."""

    results: list[Out]
    """The outputs of our stages."""
    sets: list[Out]
    """Picture sets, and whatever else DVC tracks in the cache and the default remote."""
    others: dict[str, list[str]]
    """What only DVC can send and fetch, such as a stage of the owner or a file with a remote of its own, and the paths of its outputs."""


def records(repo: CatalogRepo) -> Records:
    """Return what is recorded now."""
    entries: Entries = repo.stages().lockfile_data
    names = [name for name in repo.stages() if name in entries]
    ours = [name for name in names if name.partition("@")[0] in declared()]
    others = {name: [out["path"] for out in entries.outs(name)] for name in names if name.partition("@")[0] not in declared()}
    sets, further = tracked(pointers(entries))
    return Records(list(outs_of(entries, ours)), sets, others | further)


def tracked(paths: Iterable[Path]) -> tuple[list[Out], dict[str, list[str]]]:
    """Return the outputs of those among .dvc files that are plain, and .dvc file -> paths of its outputs for the others."""
    sets, others = list[Out](), dict[str, list[str]]()
    for path in paths:
        pointer = read_yaml(path) or {}
        outs = pointer.get("outs", ())
        places = [os.path.normpath(path.parent / out["path"]) for out in outs]
        if is_plain(pointer):
            sets += [Out(place, out["md5"]) for place, out in zip(places, outs, strict=True)]
        else:
            others[str(path)] = places
    return sets, others


def outs_of(entries: Entries, names: Iterable[str]) -> Iterator[Out]:
    """Return the recorded outputs of stages."""
    return (Out(out["path"], out["md5"]) for name in names for out in entries.outs(name) if "md5" in out)


def is_plain(pointer: Mapping[str, Any]) -> bool:
    """Tell whether a .dvc file has nothing but files that lie in the cache and belong in the default remote."""
    return pointer.keys() == {"outs"} and all(out.keys() <= PLAIN and "md5" in out and out.get("hash") == "md5" for out in pointer["outs"])


def pointers(entries: Entries) -> Iterator[Path]:
    """Return the .dvc files of the catalog; there are none in folders that DVC tracks."""
    results = {out.path for out in outs_of(entries, entries)}
    for folder, folders, files in os.walk("."):
        here = Path(folder)
        yield from (here / file for file in files if file.endswith(".dvc"))
        tracked = {name for name in folders if f"{name}.dvc" in files or (here / name).as_posix() in results}
        folders[:] = [name for name in folders if name not in tracked and not name.startswith(".")]


def listed(paths: Collection[str], most: int = 10) -> str:
    """Return paths as a text, without those after the tenth."""
    return ", ".join(islice(sorted(paths), most)) + (f" and {len(paths) - most} more" if len(paths) > most else "")
