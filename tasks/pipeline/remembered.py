"""What DVC computes anew for every stage and every question, remembered for as long as the files are the same.

In a catalog of a thousand concepts it is nearly all the time that DVC takes: it parses params.yaml, walks through all of it for each parameter, and
hashes the report's input folders ten times.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any

import yaml
from dvc import dvcfile  # before anything here is replaced: it keeps the writer that it finds  # noqa: F401
from dvc.dependency import param
from dvc.dependency.base import Dependency
from dvc.utils import serialize
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.meta import Meta
from fsspec.implementations.memory import MemoryFileSystem

from tasks.documents import Dumper, read_yaml_once
from tasks.pipeline.fingerprints import digest_of, folder_states

FileState = tuple[int, int, int]
load = param.load_path
"""DVC's own."""


def file_states(paths: Sequence[str]) -> list[FileState]:
    """Return size, time and inode of the files that exist."""
    statuses = [path.stat() for path in map(Path, paths) if path.exists()]
    return [(status.st_size, status.st_mtime_ns, status.st_ino) for status in statuses]


def read_param_file(fs: Any, path: str, key_paths: Sequence[str] | None = None, flatten: bool = False, read: Any = param.read_param_file) -> Any:
    """Return the values of dotted keys, such as `concepts.fox`, and leave out the keys that the file lacks; other questions go to DVC."""
    if not flatten or not key_paths:
        return read(fs, path, key_paths, flatten)
    values = {}
    for key_path in key_paths:
        value = param.load_path(path, fs)
        for key in key_path.split("."):
            value = value.get(key, MISSING) if isinstance(value, dict) else MISSING
        if value is not MISSING:
            values[key_path] = value
    return values


def hash_of(dependency: Dependency, compute: Any = Dependency._get_hash_meta) -> tuple[Meta, HashInfo]:
    """Return the metadata and the hash of a dependency; a folder whose files have the same sizes, times and inodes has the same ones."""
    if dependency.protocol != "local" or not Path(dependency.fs_path).is_dir():
        return compute(dependency)
    states = digest_of(list(folder_states(Path(dependency.fs_path))))
    if HASHES.get(dependency.fs_path, ("",))[0] != states:
        if len(HASHES) >= KEPT:
            HASHES.clear()
        HASHES[dependency.fs_path] = states, compute(dependency)
    meta, hash_info = HASHES[dependency.fs_path][1]
    return copy(meta), copy(hash_info)


def load_path(path: str, fs: Any, **options: Any) -> Any:
    """Return the content of a parameter file."""
    plain = path.endswith(".yaml") and os.path.isfile(path) and not options
    return read_yaml_once(Path(path)) or {} if plain else load(path, fs, **options)


def dump_yaml(path: str, data: Any, fs: Any = None) -> None:
    """Write an entry of the run-cache; DVC's own writer takes five times as long."""
    with open(path, "w", encoding="utf-8") as file:
        yaml.dump(json.loads(json.dumps(data)), file, Dumper=Dumper, sort_keys=False)


@contextmanager
def no_lists_left() -> Iterator[None]:
    """Delete the lists of folders' files that DVC wrote to memory in this block; DVC keeps them all, and searches all of them for each new one."""
    store, folders = MemoryFileSystem.store, MemoryFileSystem.pseudo_dirs
    earlier, count = set(store), len(folders)
    try:
        yield
    finally:
        for path in store.keys() - earlier:
            store.pop(path, None)
        del folders[count:]


MISSING, KEPT = object(), 1000
HASHES: dict[str, tuple[str, tuple[Meta, HashInfo]]] = {}
"""Folder -> the digest of its files' states, and what DVC computed for them."""

# DVC has no hook for these. Nothing here reads another revision, so every such file lies in the working directory.
param.load_path = serialize.load_path = load_path
param.read_param_file = read_param_file
serialize.dump_yaml = dump_yaml
Dependency._get_hash_meta = hash_of
