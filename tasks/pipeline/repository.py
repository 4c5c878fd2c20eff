"""The DVC repository of a catalog: what is stale and why, and a record of exactly what ran."""

import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.lock import make_lock
from dvc.repo import Repo
from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK
from dvc.stage import PipelineStage
from dvc.stage.cache import RunCacheNotFoundError
from dvc_objects.errors import ObjectFormatError

from tasks import artifacts, faults
from tasks.pipeline import fingerprints, merge_driver
from tasks.pipeline.catalog_repo import CatalogRepo
from tasks.pipeline.graph import STAGES, refuse_another_graph
from tasks.pipeline.remembered import no_lists_left
from tasks.pipeline.unreadable import refuse_unreadable, unreadable

Snapshot = dict[str, Any]


def open_repo() -> CatalogRepo:
    """Open the catalog in this folder and set its clone up to merge as docs/team.md says.

    Raises:
        ValueError: the folder is no DVC repository, or its graph is not the one that this wordmint runs.
    """
    merge_driver.set_up()
    refuse_another_graph()
    logging.getLogger("dvc").setLevel(logging.WARNING)  # it would log every line that it writes to dvc.lock
    for name in ("dvc_data", "dvc.output"):
        logging.getLogger(name).setLevel(logging.ERROR)  # and warn of every result that nobody built yet
    # Waiting for DVC's lock lets several processes record at once; without it two in twelve fail.
    try:
        repo = CatalogRepo(".", _wait_for_lock=True)
    except NotDvcRepoError as error:
        raise ValueError(
            f"{Path.cwd()} is no DVC repository; run `dvc init` here (with --no-scm outside of Git), or start with `wordmint init`"
        ) from error
    mend_rwlock(repo)
    if repo.journal.exists():  # of a build that was killed, or that is running
        with repo.lock:
            repo.settle()
    return repo


def mend_rwlock(repo: Repo) -> None:
    """Delete DVC's record of who reads and writes which path, if a process was killed while it wrote it: DVC refuses everything while it is torn."""
    record = Path(repo.tmp_dir, RWLOCK_FILE)
    if not is_torn(record):
        return
    hardlink = bool(repo.config["core"].get("hardlink_lock", False))
    with make_lock(str(record.with_name(RWLOCK_LOCK)), tmp_dir=str(repo.tmp_dir), hardlink_lock=hardlink, wait=True):
        if is_torn(record):  # else another process was writing it
            record.unlink()


def is_torn(file: Path) -> bool:
    """Tell whether a JSON file exists and is not whole."""
    try:
        artifacts.read_json(file)
    except FileNotFoundError:
        return False
    except ValueError:
        return True
    return False


def new_repo(folder: Path, with_git: bool = False) -> None:
    """Make a folder a DVC repository of its own; with Git it may lie below the root of Git's repository."""
    logging.getLogger("dvc").setLevel(logging.WARNING)  # it would print what to do next
    Repo.init(str(folder), no_scm=not with_git, subdir=with_git).close()


def check_out(folder: Path, pointers: Sequence[Path]) -> None:
    """Write the files that `pointers` name to disk, from the cache of the DVC repository in a folder."""
    with Repo(str(folder)) as repo:
        repo.checkout([str(pointer) for pointer in pointers])


def remember_runs(repo: CatalogRepo) -> None:
    """Put every result that dvc.lock has into the run-cache, under its recorded command and inputs."""
    with asking(repo):
        for stage in repo.stages().values():
            if isinstance(stage, PipelineStage) and all(out.hash_info for out in stage.outs):
                repo.stage_cache.save(stage)


def stale(repo: CatalogRepo, concepts: Sequence[str], stages: Sequence[str] = STAGES) -> dict[str, list[str]]:
    """Return, for each stale `stage@concept` in order, why it is stale."""
    names = [f"{stage}@{concept}" for concept in concepts for stage in stages]
    return {name: reasons for name in names if (reasons := why(repo, name))}


def stale_among(repo: CatalogRepo, suspects: Sequence[str], current: Mapping[str, str]) -> dict[str, list[str]]:
    """Return what `stale` returns for `suspects`, and remember the fingerprints that the others of them had before DVC was asked.

    suspects: such as the concepts whose fingerprints have changed. current: the fingerprints.
    """
    found = stale(repo, suspects)
    names = {name.partition("@")[2] for name in found}
    fingerprints.remember({concept: current[concept] for concept in suspects if concept not in names})
    return found


def stale_now(repo: CatalogRepo, concepts: Sequence[str]) -> dict[str, list[str]]:
    """Return what `stale` returns, without asking DVC about the concepts that are as they were when DVC found them up to date."""
    current = fingerprints.fingerprints_of(concepts)
    return stale_among(repo, fingerprints.changed(current), current)


def why(repo: CatalogRepo, name: str) -> list[str]:
    """Return why one stage has to run, such as `data/images/fox modified`; empty when it is up to date."""
    with asking(repo):  # for another process may be writing dvc.lock
        stage = repo.stages()[name]
        reasons = [fault for part in (*stage.deps, *stage.outs) if (fault := unreadable(Path(part.def_path)))]
        if reasons or not all(out.hash_info for out in stage.outs):
            return reasons or ["never built"]
        changes = stage.status(check_updates=False).get(name, [])
    for change in changes:
        for paths in change.values() if isinstance(change, dict) else ():
            for path, what in paths.items():
                reasons += [f"{path} {what}"] if isinstance(what, str) else [f"{path} {key} {how}" for key, how in what.items()]
        if isinstance(change, str):
            reasons.append(change)
    return reasons


def snapshot(repo: CatalogRepo, name: str) -> Snapshot:
    """Return the hashes of a stage's dependencies and the values of its parameters as they are now; raise a ValueError if DVC cannot read one."""
    inputs: Snapshot = {}
    with asking(repo):
        for dependency in repo.stages()[name].deps:
            if hasattr(dependency, "read_params"):
                inputs.update({f"{dependency.def_path}:{key}": value for key, value in dependency.read_params().items()})
            else:
                refuse_unreadable(Path(dependency.def_path))
                inputs[dependency.def_path] = dependency.get_hash().value if dependency.exists else None
    return inputs


def record(repo: CatalogRepo, name: str, before: Snapshot) -> None:
    """Record one stage in the journal of dvc.lock and in the cache, if its inputs are still those of the snapshot from before it ran.

    Raises:
        ValueError: a dependency or parameter changed meanwhile, or `dvc repro` is at work on the outputs; they stay on disk, unrecorded and so stale.
    """
    after = snapshot(repo, name)
    changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    if changed:
        raise ValueError(f"{', '.join(changed)} changed while {name} ran, so its result is not recorded; run the build again")
    # As `dvc commit -f` of this one stage; without a stage it would record every stale output as up to date.
    with asking(repo):
        stage = repo.stages()[name]
        stage.save()
        stage.commit()
        faults.point("outputs in the cache, stage not recorded")
        repo.write(stage)


@contextmanager
def recording(repo: CatalogRepo, name: str) -> Iterator[None]:
    """Record one stage after the block has run it; see `record`."""
    before = snapshot(repo, name)
    yield
    record(repo, name, before)


def restore(repo: CatalogRepo, name: str, pull: bool = False) -> bool:
    """Restore and record the result that a stale stage had with these very inputs, as `dvc repro` does; tell whether there was one.

    pull: take what DVC's cache lacks from the default remote; call `fetch_runs` first.
    """
    before = snapshot(repo, name)
    if None in before.values():
        return False  # a dependency is missing
    with asking(repo):
        stage = repo.stages()[name]
        try:
            with set_aside([Path(out.fs_path) for out in stage.outs]):
                repo.stage_cache.restore(stage, pull=pull)
        except RunCacheNotFoundError:
            return False
    record(repo, name, before)
    return True


@contextmanager
def set_aside(paths: Sequence[Path]) -> Iterator[None]:
    """Move paths away while the block runs, for DVC asks at the terminal before it replaces an unrecorded file; an error moves them back."""
    backups = {path: path.with_name(f".{path.name}.{os.getpid()}.old") for path in paths if path.exists()}
    for path, backup in backups.items():
        os.replace(path, backup)
    faults.point("old results set aside")
    try:
        yield
    except BaseException:
        for path in paths:  # half written, as on a full disk
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        for path, backup in backups.items():
            os.replace(backup, path)
        raise
    for backup in backups.values():
        shutil.rmtree(backup) if backup.is_dir() else backup.unlink()


def result_md5(repo: CatalogRepo, name: str) -> str | None:
    """Return the md5 that dvc.lock has for a stage's output; None where there is no such stage or it never ran."""
    recorded = repo.stages()[name].outs[0].hash_info if name in repo.stages() else None
    return recorded.value if recorded else None


@contextmanager
def asking(repo: Repo) -> Iterator[None]:
    """Ask DVC about files, one process at a time. Its errors become one line, and its lists of files do not pile up in memory."""
    with one_line(), repo.lock, no_lists_left():
        yield


@contextmanager
def one_line() -> Iterator[None]:
    """Turn DVC's errors, whose texts have several lines, into a ValueError of one line."""
    try:
        yield
    except DvcException as error:
        if isinstance(error, RunCacheNotFoundError):
            raise
        raise ValueError(" ".join(str(error).split())) from error
    except ObjectFormatError as error:
        raise ValueError(f"{error} in DVC's cache or remote; delete its file (in the folder named by its first two digits) and rerun") from error
