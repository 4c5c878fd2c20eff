"""Folders that DVC tracks, such as picture sets: recording them as they are, and reading what was recorded."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc_data.hashfile.build import build
from dvc_data.hashfile.obj import HashFile
from dvc_data.hashfile.tree import Tree
from dvc_objects.fs.local import localfs

from tasks import artifacts
from tasks.documents import parsed
from tasks.pipeline.git import git
from tasks.pipeline.receiving import take
from tasks.pipeline.remembered import no_lists_left
from tasks.pipeline.repository import asking
from tasks.pipeline.unreadable import refuse_unreadable


def track_inputs(repo: Repo, concepts: Sequence[str]) -> None:
    """Let DVC track the picture sets of concepts, and the files that they were imported from, as they are now."""
    track(repo, [folder for concept in concepts for folder in artifacts.inputs(concept) if folder.exists()])


def track(repo: Repo, folders: Sequence[Path]) -> None:
    """Let DVC track folders as they are now, whether new or changed.

    Raises:
        ValueError: DVC cannot read a folder, or a .dvc file names a later state than the folder on disk, as after `git pull`.
    """
    for folder in folders:
        refuse_unreadable(folder)
    tracked = [folder for folder in folders if artifacts.pointer(folder).exists()]
    changed = [folder for folder in tracked if not is_tracked_as_it_is(repo, folder)]
    for folder in changed:
        refuse_unseen(repo, folder)
    for folder in changed:
        with no_lists_left():
            repo.commit(str(artifacts.pointer(folder)), force=True)
    for folder in folders:
        if folder not in tracked:
            add(repo, folder)


def add(repo: Repo, folder: Path) -> None:
    """Let DVC track a new folder, as `dvc add` does, but without a look through the whole catalog.

    Raises:
        ValueError: DVC tracks a folder above it.
    """
    if above := [str(parent) for parent in folder.parents if parent.name and artifacts.pointer(parent).exists()]:
        raise ValueError(f"DVC tracks {above[0]} as a whole, so it cannot track {folder}; run `dvc remove {above[0]}.dvc`")
    with asking(repo), repo.scm_context():
        stage = repo.stage.create(
            single_stage=True, validate=False, fname=str(artifacts.pointer(folder)), wdir=str(folder.parent), outs=[folder.name]
        )
        stage.add_outs()
        stage.dump()


def refuse_unseen(repo: Repo, folder: Path) -> None:
    """Raise a ValueError if DVC's cache has never had what a .dvc file names: the folder on disk would take the place of somebody else's."""
    named = recorded_md5(folder)
    if named and not cached(repo, named).exists() and named != contents(repo, folder).hash_info.value:
        raise ValueError(
            f"{artifacts.pointer(folder)} names files that are not on this machine yet; run `wordmint pull` first, "
            f"or keep those on disk instead with `dvc add {folder}`"
        )


def is_tracked_as_it_is(repo: Repo, folder: Path) -> bool:
    """Tell whether DVC's cache and the .dvc file have a folder as it is now; DVC's commit takes a tenth of a second to do nothing."""
    now = contents(repo, folder)
    files = [now.hash_info.value, *(file.value for _, _, file in now)] if isinstance(now, Tree) else []
    return now.hash_info.value == recorded_md5(folder) and all(cached(repo, md5).exists() for md5 in files)


def contents(repo: Repo, folder: Path) -> HashFile:
    """Return a folder's list of files as DVC would record it now."""
    with asking(repo):
        _, _, now = build(repo.cache.local, os.path.abspath(folder), localfs, "md5", ignore=repo.dvcignore, dry_run=True)
    return now


def recorded_md5(folder: Path, commit: str | None = None) -> str | None:
    """Return the md5 under which DVC tracks a folder, now or as of a Git commit; None where it does not."""
    path = artifacts.pointer(folder)
    current = path.read_text(encoding="utf-8") if path.exists() else None
    text = git("show", f"{commit}:./{path.as_posix()}") if commit else current
    return parsed(text.encode(), path)["outs"][0].get("md5") if text else None


def recorded_files(repo: Repo, md5: str) -> dict[str, str]:
    """Return name -> md5 of the files of a folder that DVC recorded under this md5; the default remote supplies what the cache lacks.

    Raises:
        ValueError: a file is in neither, or the list is not the one that was recorded.
    """
    bring(repo, {md5: md5})
    data = cached(repo, md5).read_bytes()
    if f"{hashlib.md5(data, usedforsecurity=False).hexdigest()}.dir" != md5:
        raise ValueError(f"{cached(repo, md5)} is damaged: its md5 is not {md5}; delete it, and the remote's copy is fetched")
    files = {entry["relpath"]: entry["md5"] for entry in json.loads(data)}
    bring(repo, {md5: name for name, md5 in files.items()})
    return files


def bring(repo: Repo, names: Mapping[str, str]) -> None:
    """Fetch what DVC's cache lacks from the default remote; raise a ValueError if the remote lacks it too. names: md5 -> the name of the file."""
    try:
        _, gone = take(repo, {md5: name for md5, name in names.items() if not cached(repo, md5).exists()})
    except (ValueError, DvcException, OSError) as error:
        raise ValueError(f"{', '.join(names.values())} cannot be fetched: {' '.join(str(error).split())}") from error
    if gone:
        raise ValueError(f"{', '.join(sorted(gone))} is neither in DVC's cache nor in its remote; run `dvc push` where it was added")


def cached(repo: Repo, md5: str) -> Path:
    """Return the path at which DVC's cache has, or would have, a file or the list of a folder's files."""
    return Path(repo.cache.local.oid_to_path(md5))
