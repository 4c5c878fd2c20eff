"""The only module that talks to DVC: what is stale, and recording exactly what ran."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dvc.repo import Repo
from dvc.stage.cache import RunCacheNotFoundError

from tasks import artifacts

Snapshot = dict[str, Any]


def open_repo() -> Repo:
    logging.getLogger("dvc").setLevel(logging.WARNING)  # it would tell of every line that it writes to dvc.lock
    # Waiting for DVC's lock lets several processes record at once; without it two in twelve fail.
    return Repo(".", _wait_for_lock=True)


def stale(repo: Repo, concepts: Sequence[str], stages: Sequence[str]) -> dict[str, list[str]]:
    """Return, for each stale `stage@concept` in order, why it is stale."""
    names = [f"{stage}@{concept}" for concept in concepts for stage in stages]
    return {name: reasons for name in names if (reasons := why(repo, name))}


def why(repo: Repo, name: str) -> list[str]:
    """Return why one stage has to run, such as `data/images/fox modified`; empty when it is up to date."""
    with repo.lock:  # for another process may be writing dvc.lock
        (stage,) = repo.stage.collect(name)
        if not all(out.hash_info for out in stage.outs):
            return ["never built"]
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
    with repo.lock:
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


def restore(repo: Repo, name: str, pull: bool = False) -> bool:
    """Bring back and record the result that a stale stage had with these very inputs, as `dvc repro` does; tell whether there was one.

    pull: take what DVC's cache lacks from the default remote, for which `fetch_runs` comes first.
    """
    before = snapshot(repo, name)
    with repo.lock:
        (stage,) = repo.stage.collect(name)
        try:
            if not pull:
                stage.save_deps()
                repo.stage_cache.restore(stage, dry=True)
            stage.remove_outs()  # DVC asks at the terminal before it replaces what it does not know
            repo.stage_cache.restore(stage, pull=pull)
        except RunCacheNotFoundError:
            return False
    record(repo, name, before)
    return True


def push(repo: Repo, names: Sequence[str]) -> None:
    """Bring the results of stages, and the run-cache that finds them by their inputs, to the default remote."""
    repo.push(targets=list(names), run_cache=True)


def fetch_runs(repo: Repo) -> None:
    """Bring from the default remote what its run-cache knows: which results belong to which inputs."""
    repo.stage_cache.pull(None)


def fetch_inputs(repo: Repo, concepts: Sequence[str]) -> None:
    """Bring the picture sets and imported files that are tracked by DVC and missing on disk from the default remote."""
    missing = [f"{folder}.dvc" for concept in concepts for folder in input_folders(concept) if not folder.exists()]
    targets = [path for path in missing if Path(path).exists()]
    if targets:
        repo.pull(targets=targets)


def track_inputs(repo: Repo, concept: str) -> None:
    """Put a concept's picture set, and the file that it was imported from, under DVC."""
    repo.add([str(folder) for folder in input_folders(concept) if folder.exists()])


def input_folders(concept: str) -> tuple[Path, Path]:
    return artifacts.images(concept), artifacts.imported(concept)
