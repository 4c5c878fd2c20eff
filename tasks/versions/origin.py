"""Where a version comes from: its picture set, the state of Git, and the run that registers it."""

from collections.abc import Mapping
from typing import Any

from prefect.runtime import flow_run

from tasks import artifacts
from tasks.pipeline import git, storage


def picture_set(concept: str) -> dict[str, str]:
    """Return the picture set as an MLflow dataset. Its digest is DVC's md5, whose 36 characters are as many as MLflow takes.

    Raises:
        ValueError: DVC does not track the picture set.
    """
    folder = artifacts.images(concept)
    md5 = storage.recorded_md5(folder)
    if md5 is None:
        raise ValueError(f"{folder} is not under DVC, so the pictures of {concept!r} could not be found again; run `dvc add {folder}`")
    return {"name": concept, "digest": md5, "source_type": "dvc", "source": f'{{"uri": "{artifacts.pointer(folder).as_posix()}"}}'}


def origin(concept: str) -> dict[str, str]:
    """Return where a version comes from as tags: the state of Git, what DVC tracks, and the run that registers it."""
    commit, dirty = git.revision(concept)
    folders = {"dataset": artifacts.images(concept), "imported": artifacts.imported(concept)}
    tracked = {name: (folder, md5) for name, folder in folders.items() if (md5 := storage.recorded_md5(folder))}
    return {
        **{f"{name}_path": artifacts.pointer(folder).as_posix() for name, (folder, _) in tracked.items()},
        **{f"{name}_digest": md5 for name, (_, md5) in tracked.items()},
        "git_revision": str(commit),
        "git_dirty": str(dirty),
        "flow_run": str(flow_run.id),
    }


def scored_on(concept: str, train: Mapping[str, Any]) -> str:
    """Return the digest of the pictures that a word is scored against. The data of a training are these pictures; those of an import are its file."""
    return artifacts.folder_digest(artifacts.curated(concept), "*.png") if train["method"] == "import" else str(train["data_sha256"])
