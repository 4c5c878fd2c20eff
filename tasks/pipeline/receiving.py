"""Receiving what is recorded from DVC's default remote, by its hashes: what DVC's cache lacks, and then what is missing or different on disk."""

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dvc.exceptions import DownloadError, DvcException
from dvc.fs.callbacks import TqdmCallback
from dvc.repo import Repo
from dvc.stage.cache import RunCacheNotSupported
from dvc_data.hashfile.db import HashFileDB
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.tree import Tree

from tasks import artifacts
from tasks.pipeline import recorded
from tasks.pipeline.catalog_repo import CatalogRepo
from tasks.pipeline.checkout import check_out, forget_unused, unsaved
from tasks.pipeline.recorded import Out, listed
from tasks.pipeline.repository import one_line

log = logging.getLogger(__name__)
REMEDY = "whoever committed their .dvc files or dvc.lock has to run `wordmint push`"
LOST = ", with --every-file, for the remote has lost a file of a folder"


@dataclass(frozen=True)
class Brought:
    """What DVC's cache has of outputs after they were asked for."""

    fetched: int
    """Files that were not in the cache."""
    files: dict[Out, dict[str, str]]
    """Path -> md5 of the files of each output that is there as a whole."""
    missing: dict[Out, str]
    """The path of a file that the remote lacks too, for each other output."""


def fetch_runs(repo: Repo) -> None:
    """Fetch the run-cache of the default remote, if there is one: which results belong to which inputs."""
    with suppress(DvcException, OSError):  # there may be no remote, or it is away; each concept that is then still stale is reported
        repo.stage_cache.pull(None)


def fetch_inputs(repo: Repo, concepts: Sequence[str]) -> None:
    """Fetch the picture sets and imported files of concepts that are missing on disk."""
    fetch(repo, [folder for concept in concepts for folder in artifacts.inputs(concept)])


def fetch(repo: Repo, folders: Sequence[Path]) -> None:
    """Fetch the folders that DVC tracks and that are missing on disk, as far as their remotes have them."""
    paths = [path for folder in folders if not folder.exists() and (path := artifacts.pointer(folder)).exists()]
    sets, others = list[Out](), dict[str, list[str]]()
    for path in paths:
        try:
            found, further = recorded.tracked([path])
        except ValueError as error:
            log.warning("pictures that are missing on disk cannot be fetched: %s", error)
        else:
            sets, others = sets + found, others | further
    try:
        with one_line(), repo.lock:
            check_out(repo, bring(repo, sets).files)
    except ValueError as error:  # curate then says for each concept what to do about its missing pictures
        log.warning("pictures that are missing on disk could not be fetched: %s", error)
    if others:
        with suppress(DownloadError):
            repo.pull(targets=list(others), allow_missing=True)


def receive(repo: CatalogRepo, concepts: Sequence[str]) -> int:
    """Fetch every recorded file, and the run-cache, from the default remote to disk; return how many files came.

    A file on disk that is recorded nowhere is not overwritten.

    Raises:
        ValueError: there is no default remote, it is away or lacks something, or an unrecorded file is in the way.
    """
    with one_line():
        remote_of(repo)  # a remote that is away is an error even if this machine has every recorded file: it has the run-cache too
        found = recorded.records(repo)
        outs = [*found.results, *found.sets]
        with repo.lock:
            with suppress(RunCacheNotSupported):
                repo.stage_cache.pull(None)
            brought = bring(repo, outs)
            check_out(repo, brought.files)
            forget_unused(repo, outs)
        fetched = brought.fetched + (pull(repo, list(found.others)) if found.others else 0)
    # Picture sets that no concept uses may lie in another remote than the team's: the one that they came with.
    needed = {str(folder) for concept in concepts for folder in artifacts.inputs(concept)}
    unneeded = {out for out in found.sets if out.path not in needed}
    paths = [path for out, path in brought.missing.items() if out not in unneeded]
    for name, places in found.others.items():
        paths += [path for path in places if not os.path.lexists(path) and (path in needed or not name.endswith(".dvc"))]
    if paths:
        lost = any(path != out.path for out, path in brought.missing.items() if out not in unneeded)
        raise ValueError(f"DVC's remote lacks {listed(paths)}; {REMEDY}{LOST if lost else ''}")
    return fetched


def pull(repo: CatalogRepo, targets: Sequence[str]) -> int:
    """Let DVC fetch and check out what only it can; return how many files came.

    Raises:
        ValueError: a remote lacks something, or an unrecorded file is in the way.
    """
    repo.drop_data_index()  # DVC remembers what a pull had listed when it was killed, and takes it for the whole list
    try:
        return int(repo.pull(targets=targets, allow_missing=True)["stats"]["fetched"])
    except DownloadError as error:
        raise ValueError(f"{error} from DVC's remote; {REMEDY}") from error
    except DvcException as error:
        message, *paths = str(error).splitlines()
        if "unsaved files" not in message:
            raise
        raise unsaved(paths) from error


def bring(repo: Repo, outs: Sequence[Out]) -> Brought:
    """Fetch what DVC's cache lacks of outputs from the default remote."""
    _, gone = take(repo, {out.md5: out.path for out in outs if out.md5.endswith(".dir")})
    missing = {out: out.path for out in outs if out.md5 in gone}
    files = {out: files_of(repo, out) for out in outs if out not in missing}
    fetched, lost = take(repo, {md5: path for listing in files.values() for path, md5 in listing.items()})
    missing |= {out: path for out, listing in files.items() for path, md5 in listing.items() if md5 in lost} if lost else {}
    return Brought(fetched, {out: listing for out, listing in files.items() if out not in missing}, missing)


def files_of(repo: Repo, out: Out) -> dict[str, str]:
    """Return path -> md5 of an output's files; DVC's cache has the list of a folder's."""
    if not out.md5.endswith(".dir"):
        return {out.path: out.md5}
    return {"/".join((out.path, *key)): file.value for key, _, file in Tree.load(repo.cache.local, HashInfo("md5", out.md5))}


def take(repo: Repo, paths: Mapping[str, str]) -> tuple[int, set[str]]:
    """Fetch the files that DVC's cache lacks from the default remote, and check the md5 of each.

    paths: md5 -> where the file belongs. Returns how many files came, and the md5s that the remote lacks.

    Raises:
        ValueError: there is no default remote, it is away, a file could not be copied, or the remote has other bytes than were recorded.
    """
    cache = repo.cache.local
    if not (lacking := paths.keys() - set(cache.oids_exist(list(paths)))):
        return 0, set()
    remote, failed = remote_of(repo), dict[str, BaseException]()
    there = sorted(remote.oids_exist(sorted(lacking)))
    places = [remote.oid_to_path(md5) for md5 in there]
    with TqdmCallback(desc=f"Fetching from {remote.path}", unit="file") as bar:
        cache.add(places, remote.fs, there, callback=bar, verify=True, on_error=failed.__setitem__)
    for md5, error in failed.items():
        raise ValueError(f"{paths[md5]} could not be fetched from DVC's remote: {error}; run it again") from error
    for md5 in set(there) - set(cache.oids_exist(there)):
        raise ValueError(
            f"DVC's remote has other bytes for {paths[md5]} than were recorded; delete {remote.oid_to_path(md5)}, "
            "and run `wordmint push --every-file` where the right ones are"
        )
    return len(there), lacking - set(there)


def remote_of(repo: Repo) -> HashFileDB:
    """Return the default remote.

    Raises:
        ValueError: there is none, or it is away.
    """
    with one_line():
        remote, folder = repo.cloud.get_remote_odb(), repo.cloud.get_remote().path
    try:
        there = remote.fs.exists(folder)
    except Exception as error:  # each kind of remote has errors of its own
        raise ValueError(f"DVC's default remote {folder} cannot be reached: {error}") from error
    if remote.fs.protocol == "local" and not there:
        raise ValueError(f"DVC's default remote {folder} is not there; mount it, or run `wordmint push` where the files are")
    return remote
