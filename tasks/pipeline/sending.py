"""Sending what is recorded to DVC's default remote.

DVC's own push builds an index of the whole repository, in time that grows with the square of its outputs: 460 CPU seconds at 1,000 concepts with
nothing to send. Here the hashes come from the records themselves, and DVC compares and transfers them.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from dvc.exceptions import UploadError
from dvc.repo import Repo
from dvc.stage.cache import RunCacheNotSupported
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.tree import Tree

from tasks.pipeline import storage
from tasks.pipeline.catalog_repo import CatalogRepo
from tasks.pipeline.graph import declared
from tasks.pipeline.repository import one_line

PLAIN = {"md5", "size", "nfiles", "hash", "path"}
"""The keys of an output that lies in the cache and belongs in the default remote."""


def send(repo: CatalogRepo) -> None:
    """Send every recorded file, and the run-cache, to the default remote.

    Raises:
        ValueError: there is no default remote, it lies inside the repository, or something could not be sent.
    """
    with one_line():
        remote = repo.cloud.get_remote_odb()
        if remote.fs.protocol == "local" and Path(remote.path).is_relative_to(repo.root_dir):
            raise ValueError(
                f"DVC's default remote {remote.path} lies inside this repository, where it would end in Git; "
                "give the team its own with `dvc remote add --default team URL`"
            )
        entries = repo.stages().lockfile_data
        recorded = [name for name in repo.stages() if name in entries]
        ours = [name for name in recorded if name.partition("@")[0] in declared()]
        tracked = {str(path): yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader) for path in storage.pointers(entries)}
        plain = [path for path, pointer in tracked.items() if is_plain(pointer)]
        others = sorted({*recorded, *tracked} - {*ours, *plain})
        if others:  # such as a stage of the owner, or pictures that lie in a remote of their own
            repo.push(targets=others)
        send_results(repo, ours, [out for path in plain for out in tracked[path]["outs"]])


def send_results(repo: CatalogRepo, names: Sequence[str], further: Sequence[dict[str, Any]] = ()) -> None:
    """Send the results of stages, the files of further outputs and the run-cache, which finds results by their inputs, to the default remote."""
    outs = [*storage.outs_of(repo.stages().lockfile_data, names), *further]
    hashes = [HashInfo("md5", out["md5"]) for out in outs if "md5" in out]
    there = set(repo.cloud.get_remote_odb().oids_exist([recorded.value for recorded in hashes]))
    lacking = [recorded for recorded in hashes if recorded.value not in there]  # the remote has the files of each folder whose list it has
    files = [file for recorded in lacking if recorded.isdir for file in files_of(repo, recorded)]
    with repo.lock:
        if failed := repo.cloud.push([*lacking, *files]).failed:
            raise UploadError(len(failed))
        with suppress(RunCacheNotSupported):
            repo.stage_cache.push(None)  # last, so that the remote has the files of each entry


def files_of(repo: Repo, folder: HashInfo) -> Iterator[HashInfo]:
    """Return the hashes of a folder's files; none if the cache lacks its list, for whoever built it has not pushed yet."""
    if repo.cache.local.exists(folder.value):
        yield from (file for _, _, file in Tree.load(repo.cache.local, folder))


def is_plain(pointer: dict[str, Any]) -> bool:
    """Tell whether a .dvc file has nothing but files that lie in the cache and belong in the default remote."""
    return pointer.keys() == {"outs"} and all(out.keys() <= PLAIN and "md5" in out for out in pointer["outs"])
