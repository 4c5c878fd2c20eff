"""DVC's cache and its default remote, which hold picture sets and results."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from dvc.exceptions import DownloadError, DvcException
from dvc.repo import Repo
from dvc_data.hashfile.build import build
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.tree import Tree
from dvc_objects.fs.local import localfs

from tasks import artifacts
from tasks.pipeline.git import git
from tasks.pipeline.repository import one_line
from tasks.pipeline.unreadable import refuse_unreadable


def fetch_runs(repo: Repo) -> None:
    """Fetch the run-cache of the default remote, if there is one: which results belong to which inputs."""
    with suppress(DvcException, OSError):  # there may be no remote, or it is away; each concept that is then still stale is reported
        repo.stage_cache.pull(None)


def fetch_inputs(repo: Repo, concepts: Sequence[str]) -> None:
    """Fetch the picture sets and imported files of concepts that are missing on disk."""
    fetch(repo, [folder for concept in concepts for folder in artifacts.inputs(concept)])


def fetch(repo: Repo, folders: Sequence[Path]) -> None:
    """Fetch the folders that DVC tracks and that are missing on disk from the default remote, as far as it has them."""
    missing = [f"{folder}.dvc" for folder in folders if not folder.exists()]
    if targets := [path for path in missing if Path(path).exists()]:
        with suppress(DownloadError):  # curate then says for each concept what to do about its missing pictures
            repo.pull(targets=targets, allow_missing=True)


def track_inputs(repo: Repo, concepts: Sequence[str]) -> None:
    """Let DVC track the picture sets of concepts, and the files that they were imported from, as they are now."""
    track(repo, [folder for concept in concepts for folder in artifacts.inputs(concept) if folder.exists()])


def track(repo: Repo, folders: Sequence[Path]) -> None:
    """Let DVC track folders as they are now, whether new or changed; raise a ValueError if it cannot read one."""
    for folder in folders:
        refuse_unreadable(folder)
    tracked = [folder for folder in folders if artifacts.pointer(folder).exists()]
    for folder in tracked:
        if not is_tracked_as_it_is(repo, folder):
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
    with one_line(), repo.lock, repo.scm_context():
        stage = repo.stage.create(
            single_stage=True, validate=False, fname=str(artifacts.pointer(folder)), wdir=str(folder.parent), outs=[folder.name]
        )
        stage.add_outs()
        stage.dump()


def is_tracked_as_it_is(repo: Repo, folder: Path) -> bool:
    """Tell whether DVC's cache and the .dvc file have a folder as it is now; DVC's commit takes a tenth of a second to do nothing."""
    _, _, now = build(repo.cache.local, os.path.abspath(folder), localfs, "md5", ignore=repo.dvcignore, dry_run=True)
    files = [now.hash_info.value, *(file.value for _, _, file in now)] if isinstance(now, Tree) else []
    return now.hash_info.value == recorded_md5(folder) and all(cached(repo, md5).exists() for md5 in files)


def outs_of(entries: Mapping[str, Any], names: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Return the recorded outputs of stages."""
    return (out for name in names for out in entries[name].get("outs", ()))


def pointers(entries: Mapping[str, Any]) -> Iterator[Path]:
    """Return the .dvc files of the catalog; there are none in folders that DVC tracks."""
    results = {out["path"] for out in outs_of(entries, entries)}
    for folder, folders, files in os.walk("."):
        here = Path(folder)
        yield from (here / file for file in files if file.endswith(".dvc"))
        tracked = {name for name in folders if f"{name}.dvc" in files or (here / name).as_posix() in results}
        folders[:] = [name for name in folders if name not in tracked and not name.startswith(".")]


def recorded_md5(folder: Path, commit: str | None = None) -> str | None:
    """Return the md5 under which DVC tracks a folder, now or as of a Git commit; None where it does not."""
    path = artifacts.pointer(folder)
    current = path.read_text(encoding="utf-8") if path.exists() else None
    text = git("show", f"{commit}:./{path.as_posix()}") if commit else current
    return yaml.safe_load(text)["outs"][0].get("md5") if text else None


def recorded_files(repo: Repo, md5: str) -> dict[str, str]:
    """Return name -> md5 of the files of a folder that DVC recorded under this md5; the default remote supplies what the cache lacks.

    Raises:
        ValueError: a file is in neither, or the list is not the one that was recorded.
    """
    bring(repo, [md5])
    data = cached(repo, md5).read_bytes()
    if f"{hashlib.md5(data, usedforsecurity=False).hexdigest()}.dir" != md5:
        raise ValueError(f"{cached(repo, md5)} is damaged: its md5 is not {md5}; delete it, and the remote's copy is fetched")
    files = {entry["relpath"]: entry["md5"] for entry in json.loads(data)}
    bring(repo, list(files.values()))
    return files


def bring(repo: Repo, md5s: Sequence[str]) -> None:
    """Fetch what DVC's cache lacks from the default remote."""
    missing = [md5 for md5 in md5s if not cached(repo, md5).exists()]
    if not missing:
        return
    try:
        repo.cloud.pull([HashInfo("md5", md5) for md5 in missing])
    except (DvcException, OSError) as error:
        raise ValueError(f"{', '.join(missing)} is not in DVC's cache and cannot be fetched: {error}") from error
    if gone := [md5 for md5 in missing if not cached(repo, md5).exists()]:
        raise ValueError(f"{', '.join(gone)} is neither in DVC's cache nor in its remote; run `dvc push` where it was added")


def cached(repo: Repo, md5: str) -> Path:
    """Return the path at which DVC's cache has, or would have, a file or the list of a folder's files."""
    return Path(repo.cache.local.oid_to_path(md5))


def receive(repo: Repo, concepts: Sequence[str]) -> int:
    """Fetch every recorded file, and the run-cache, from the default remote to disk; return how many files came.

    A file on disk that is recorded nowhere is not overwritten.

    Raises:
        ValueError: there is no default remote, it lacks something, or an unrecorded file is in the way.
    """
    with one_line():
        repo.cloud.get_remote_odb()  # DVC raises no error without a remote if this machine happens to have everything
        try:
            fetched = pull(repo)
            if lacking(repo, concepts):  # DVC remembers what a pull had listed when it was killed, and takes it for the whole list
                repo.drop_data_index()
                fetched += pull(repo)
        except DownloadError as error:
            raise ValueError(f"{error} from DVC's remote; whoever committed their .dvc files or dvc.lock has to run `wordmint push`") from error
        except DvcException as error:
            message, *paths = str(error).splitlines()
            if "unsaved files" not in message:
                raise
            raise ValueError(f"{', '.join(paths)} would be lost: it is recorded nowhere; keep it with `dvc add FOLDER`, or move it away") from error
    if missing := lacking(repo, concepts):
        raise ValueError(f"DVC's remote lacks {', '.join(missing)}; whoever committed their .dvc files or dvc.lock has to run `wordmint push`")
    return fetched


def pull(repo: Repo) -> int:
    """Fetch what the default remote has of the recorded files, and the run-cache; return how many files came."""
    return int(repo.pull(run_cache=True, allow_missing=True)["stats"]["fetched"])  # a result that nobody built yet may be missing


def lacking(repo: Repo, concepts: Sequence[str]) -> list[str]:
    """Return the paths that are recorded and not on disk."""
    # Picture sets that no concept uses may lie in another remote than the team's: the one that they came with.
    needed = {str(folder.absolute()) for concept in concepts for folder in artifacts.inputs(concept)}
    outs = [out for out in repo.index.outs if not out.stage.is_data_source or out.fs_path in needed]
    return sorted(out.def_path for out in outs if out.hash_info and not out.exists)
