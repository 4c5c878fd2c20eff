"""The only module that talks to DVC: what is stale, recording exactly what ran, and the way to and from the team's remote."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dvc.exceptions import DownloadError, DvcException
from dvc.repo import Repo
from dvc.stage.cache import RunCacheNotFoundError

from tasks import artifacts

Snapshot = dict[str, Any]


def open_repo() -> Repo:
    logging.getLogger("dvc").setLevel(logging.WARNING)  # it would tell of every line that it writes to dvc.lock
    logging.getLogger("dvc_data").setLevel(logging.ERROR)  # and of every result that nobody built yet
    # Waiting for DVC's lock lets several processes record at once; without it two in twelve fail.
    return Repo(".", _wait_for_lock=True)


def stale(repo: Repo, concepts: Sequence[str], stages: Sequence[str]) -> dict[str, list[str]]:
    """Return, for each stale `stage@concept` in order, why it is stale."""
    names = [f"{stage}@{concept}" for concept in concepts for stage in stages]
    return {name: reasons for name in names if (reasons := why(repo, name))}


def why(repo: Repo, name: str) -> list[str]:
    """Return why one stage has to run, such as `data/images/fox modified`; empty when it is up to date."""
    (stage,) = repo.stage.collect(name)
    if not all(out.hash_info for out in stage.outs):
        return ["never built"]
    with repo.lock:
        changes = stage.status(check_updates=False).get(name, [])
    reasons = []
    for change in changes:
        for paths in change.values() if isinstance(change, dict) else ():
            for path, what in paths.items():
                reasons += [f"{path} {what}"] if isinstance(what, str) else [f"{path} {key} {how}" for key, how in what.items()]
        if isinstance(change, str):
            reasons.append(change)
    return reasons


def snapshot(repo: Repo, name: str) -> Snapshot:
    """Return the hashes of a stage's dependencies and the values of its parameters as they are now."""
    repo._reset()  # params.yaml may have been edited since this repository object read it
    (stage,) = repo.stage.collect(name)
    inputs: Snapshot = {}
    for dependency in stage.deps:
        if hasattr(dependency, "read_params"):
            inputs.update({f"{dependency.def_path}:{key}": value for key, value in dependency.read_params().items()})
        else:
            inputs[dependency.def_path] = dependency.get_hash().value if dependency.exists else None
    return inputs


def record(repo: Repo, name: str, before: Snapshot) -> None:
    """Record one stage in dvc.lock and the cache, if its inputs are still those of the snapshot from before it ran.

    Raises:
        ValueError: a dependency or parameter changed meanwhile; what was written stays on disk, unrecorded and so stale.
    """
    after = snapshot(repo, name)
    changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    if changed:
        raise ValueError(f"{', '.join(changed)} changed while {name} ran, so its result is not recorded; run the build again")
    # A bare `dvc commit -f` would bless every stale output; this names one stage.
    repo.commit(name, force=True)


@contextmanager
def recording(repo: Repo, name: str) -> Iterator[None]:
    """Record one stage after the block has run it; see `record`."""
    before = snapshot(repo, name)
    yield
    record(repo, name, before)


def fetch_inputs(repo: Repo, concepts: Sequence[str]) -> None:
    """Bring the picture sets and imported files that are tracked by DVC and missing on disk from the default remote."""
    missing = [f"{folder}.dvc" for concept in concepts for folder in input_folders(concept) if not folder.exists()]
    targets = [path for path in missing if Path(path).exists()]
    if targets:
        repo.pull(targets=targets)


def track_inputs(repo: Repo, *concepts: str) -> None:
    """Put concepts' picture sets, and the files that they were imported from, under DVC."""
    if folders := [str(folder) for concept in concepts for folder in input_folders(concept) if folder.exists()]:
        repo.add(folders)


def send(repo: Repo) -> None:
    """Send what is recorded, and the run-cache, to the default remote.

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
        repo.push(run_cache=True)


def receive(repo: Repo) -> int:
    """Bring what is recorded, and the run-cache, from the default remote to disk; return how many files came.

    What is on disk and recorded nowhere is not overwritten.

    Raises:
        ValueError: there is no default remote, it lacks something, or an unrecorded file is in the way.
    """
    with one_line():
        repo.cloud.get_remote_odb()  # without one DVC would be content where this machine happens to have everything
        try:
            # What nobody built yet is missing by right.
            fetched = repo.pull(run_cache=True, allow_missing=True)["stats"]["fetched"]
        except DownloadError as error:
            raise ValueError(f"{error} from DVC's remote; whoever committed what names them has to run `wordmint push`") from error
        except DvcException as error:
            said, *paths = str(error).splitlines()
            if "unsaved files" not in said:
                raise
            raise ValueError(f"{', '.join(paths)} would be lost: recorded nowhere; keep it with `dvc add FOLDER`, or move it away") from error
    if missing := sorted(out.def_path for out in repo.index.outs if out.hash_info and not out.exists):
        raise ValueError(f"DVC's remote lacks {', '.join(missing)}; whoever committed what names them has to run `wordmint push`")
    return fetched


def restore(repo: Repo, name: str) -> bool:
    """Check out and record what a run of a stage with its present inputs gave, on whichever machine; False if the run-cache knows none."""
    (stage,) = repo.stage.collect(name)
    if not all(dependency.exists for dependency in stage.deps):
        return False
    try:
        with one_line(), repo.lock:
            repo.stage_cache.restore(stage, pull=True)
    except RunCacheNotFoundError:
        return False
    repo.commit(name, force=True)
    return True


@contextmanager
def one_line() -> Iterator[None]:
    """Turn DVC's errors, whose texts have several lines, into a ValueError of one."""
    try:
        yield
    except DvcException as error:
        if isinstance(error, RunCacheNotFoundError):
            raise
        raise ValueError(" ".join(str(error).split())) from error


def input_folders(concept: str) -> tuple[Path, Path]:
    return artifacts.images(concept), artifacts.imported(concept)
