"""The DVC repository of a catalog: what is stale and why, and a record of exactly what ran."""

import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from dvc.dependency import param
from dvc.dvcfile import load_file
from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.fs import localfs
from dvc.repo import Repo
from dvc.stage import PipelineStage
from dvc.stage.cache import RunCacheNotFoundError
from dvc.stage.loader import StageLoader
from dvc.stage.serialize import to_single_stage_lockfile

from tasks import artifacts
from tasks.pipeline import journal
from tasks.pipeline.graph import refuse_another_graph
from tasks.pipeline.unreadable import refuse_unreadable, unreadable

Snapshot = dict[str, Any]


class CatalogRepo(Repo):
    """A DVC repository that reads dvc.lock only when it changed, and writes it once for many stages; DVC does both for every stage."""

    loaded: tuple[list[tuple[int, int, int]], StageLoader] | None = None
    replayed = 0
    """The bytes of the journal that `loaded` has."""
    wrote = False

    @property
    def journal(self) -> Path:
        return Path(self.tmp_dir, "wordmint-journal.jsonl")

    def stages(self) -> StageLoader:
        """Return the stages by name, as they are declared and recorded now."""
        states = file_states()
        if self.loaded is None or self.loaded[0] != states:
            self.loaded, self.replayed = (states, load_file(self, "dvc.yaml").stages), 0
        self.replayed = journal.replay(self.journal, self.replayed, self.loaded[1].lockfile_data)
        return self.loaded[1]

    def write(self, stage: PipelineStage) -> None:
        """Record a stage's entry in the journal; the caller holds the lock."""
        entries, entry = self.stages().lockfile_data, json.loads(json.dumps(to_single_stage_lockfile(stage)))
        self.replayed, self.wrote = journal.append(self.journal, self.replayed, entries, stage.name, entry), True

    def settle(self) -> None:
        """Write what the journal has into dvc.lock, the only place where DVC's own commands look; the caller holds the lock."""
        stages = self.stages()
        if self.journal.exists():
            document = {"schema": "2.0", "stages": stages.lockfile_data}
            artifacts.write_bytes(Path("dvc.lock"), yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False).encode())
            self.journal.unlink()
            self.loaded, self.replayed = (file_states(), stages), 0

    def _reset(self) -> None:
        """Settle before each of DVC's own operations, which begins and ends with this call while it holds the lock."""
        if self.wrote:
            self.settle()
        super()._reset()

    def close(self) -> None:
        if self.wrote:
            with self.lock:
                self.settle()
        super().close()


def file_states(paths: Sequence[str] = ("dvc.yaml", "params.yaml", "dvc.lock")) -> list[tuple[int, int, int]]:
    """Return size, time and inode of files, by default of the files that declare and record the stages."""
    statuses = [path.stat() for path in map(Path, paths) if path.exists()]
    return [(status.st_size, status.st_mtime_ns, status.st_ino) for status in statuses]


@lru_cache(maxsize=2)
def parsed(path: str, states: tuple[tuple[int, int, int], ...], load: Any = param.load_path) -> Any:
    """Parse a parameter file once for each of its states; DVC parses it for every stage, which takes most of the time in a large catalog."""
    return load(path, localfs)


# DVC has no hook for this. Nothing here reads another revision, so every such file lies in the working directory.
param.load_path = lambda path, fs: parsed(path, tuple(file_states([path])))


def open_repo() -> CatalogRepo:
    """Open the catalog in this folder.

    Raises:
        ValueError: the folder is no DVC repository, or its graph is not the one that this wordmint runs.
    """
    refuse_another_graph()
    logging.getLogger("dvc").setLevel(logging.WARNING)  # it would log every line that it writes to dvc.lock
    logging.getLogger("dvc_data").setLevel(logging.ERROR)  # and every result that nobody built yet
    # Waiting for DVC's lock lets several processes record at once; without it two in twelve fail.
    try:
        repo = CatalogRepo(".", _wait_for_lock=True)
    except NotDvcRepoError as error:
        raise ValueError(
            f"{Path.cwd()} is no DVC repository; run `dvc init` here (with --no-scm outside of Git), or start with `wordmint init`"
        ) from error
    if repo.journal.exists():  # of a build that was killed, or that is running
        with repo.lock:
            repo.settle()
    return repo


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
    with repo.lock:
        for stage in repo.stages().values():
            if isinstance(stage, PipelineStage) and all(out.hash_info for out in stage.outs):
                repo.stage_cache.save(stage)


def stale(repo: CatalogRepo, concepts: Sequence[str], stages: Sequence[str]) -> dict[str, list[str]]:
    """Return, for each stale `stage@concept` in order, why it is stale."""
    names = [f"{stage}@{concept}" for concept in concepts for stage in stages]
    return {name: reasons for name in names if (reasons := why(repo, name))}


def why(repo: CatalogRepo, name: str) -> list[str]:
    """Return why one stage has to run, such as `data/images/fox modified`; empty when it is up to date."""
    with repo.lock:  # for another process may be writing dvc.lock
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
    with repo.lock:
        stage = repo.stages()[name]
    inputs: Snapshot = {}
    for dependency in stage.deps:
        if hasattr(dependency, "read_params"):
            inputs.update({f"{dependency.def_path}:{key}": value for key, value in dependency.read_params().items()})
        else:
            refuse_unreadable(Path(dependency.def_path))
            inputs[dependency.def_path] = dependency.get_hash().value if dependency.exists else None
    return inputs


def record(repo: CatalogRepo, name: str, before: Snapshot) -> None:
    """Record one stage in the journal of dvc.lock and in the cache, if its inputs are still those of the snapshot from before it ran.

    Raises:
        ValueError: a dependency or parameter changed meanwhile; the outputs stay on disk, unrecorded and so stale.
    """
    after = snapshot(repo, name)
    changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    if changed:
        raise ValueError(f"{', '.join(changed)} changed while {name} ran, so its result is not recorded; run the build again")
    # As `dvc commit -f` of this one stage; without a stage it would record every stale output as up to date.
    with repo.lock:
        stage = repo.stages()[name]
        stage.save()
        stage.commit()
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
    with one_line(), repo.lock:
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
    try:
        yield
    except BaseException:
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
def one_line() -> Iterator[None]:
    """Turn DVC's errors, whose texts have several lines, into a ValueError of one line."""
    try:
        yield
    except DvcException as error:
        if isinstance(error, RunCacheNotFoundError):
            raise
        raise ValueError(" ".join(str(error).split())) from error
