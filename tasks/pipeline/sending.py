"""Sending what is recorded to DVC's default remote.

DVC's own push took 460 CPU seconds at 1,000 concepts with nothing to send. Here the hashes come from the records, and DVC compares and transfers
them.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from dvc.exceptions import UploadError
from dvc.repo import Repo
from dvc.stage.cache import RunCacheNotSupported
from dvc_data.hashfile.db import get_index
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.tree import Tree

from tasks.pipeline import recorded
from tasks.pipeline.catalog_repo import CatalogRepo
from tasks.pipeline.recorded import Out
from tasks.pipeline.repository import one_line


def send(repo: CatalogRepo, every_file: bool = False) -> None:
    """Send every recorded file, and the run-cache, to the default remote.

    every_file: ask the remote for each file, for one that it has lost; else it counts as having the files of each folder whose list it has.

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
        found = recorded.records(repo)
        if found.others:
            repo.push(targets=list(found.others))
        send_outs(repo, [*found.results, *found.sets], every_file)


def send_results(repo: CatalogRepo, names: Sequence[str]) -> None:
    """Send the results of stages, and the run-cache, to the default remote."""
    send_outs(repo, recorded.outs_of(repo.stages().lockfile_data, names))


def send_outs(repo: CatalogRepo, outs: Iterable[Out], every_file: bool = False) -> None:
    """Send outputs, and the run-cache, which finds results by their inputs, to the default remote; see `send`."""
    hashes, remote = [HashInfo("md5", out.md5) for out in outs], repo.cloud.get_remote_odb()
    if every_file:
        get_index(remote).clear()  # in which DVC notes what the remote had
        hashes += [file for known in hashes if known.isdir for file in files_of(repo, known)]
    there = set(remote.oids_exist([known.value for known in hashes]))
    lacking = [known for known in hashes if known.value not in there]
    files = [file for known in lacking if known.isdir for file in files_of(repo, known)]
    with repo.lock:
        if failed := repo.cloud.push([*lacking, *files]).failed:
            raise UploadError(len(failed))
        with suppress(RunCacheNotSupported):
            repo.stage_cache.push(None)  # last, so that the remote has the files of each entry


def files_of(repo: Repo, folder: HashInfo) -> Iterator[HashInfo]:
    """Return the hashes of a folder's files; none if the cache lacks its list, for whoever built it has not pushed yet."""
    if repo.cache.local.exists(folder.value):
        yield from (file for _, _, file in Tree.load(repo.cache.local, folder))
