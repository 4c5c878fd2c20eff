"""DVC's cache and its default remote: picture sets and results come from there and go there."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import yaml
from dvc.exceptions import DownloadError, DvcException
from dvc.repo import Repo
from dvc_data.hashfile.hash_info import HashInfo

from tasks import artifacts
from tasks.pipeline.git import git
from tasks.pipeline.repository import one_line


def fetch_runs(repo: Repo) -> None:
    """Bring from the default remote, if there is one, what its run-cache knows: which results belong to which inputs."""
    with suppress(DvcException):  # a catalog may have none; what is then still stale is told of each concept
        repo.stage_cache.pull(None)


def fetch_inputs(repo: Repo, concepts: Sequence[str]) -> None:
    """Bring the picture sets and imported files of concepts that are missing on disk."""
    fetch(repo, [folder for concept in concepts for folder in artifacts.inputs(concept)])


def fetch(repo: Repo, folders: Sequence[Path]) -> None:
    """Bring those of some folders that are tracked by DVC and missing on disk from the default remote, as far as it has them."""
    missing = [f"{folder}.dvc" for folder in folders if not folder.exists()]
    if targets := [path for path in missing if Path(path).exists()]:
        with suppress(DownloadError):  # curate says of each concept whose pictures are not there what to do
            repo.pull(targets=targets, allow_missing=True)


def track_inputs(repo: Repo, concepts: Sequence[str]) -> None:
    """Record the picture sets of concepts, and the files that they were imported from, as they are now: new to DVC or changed since."""
    folders = [folder for concept in concepts for folder in artifacts.inputs(concept) if folder.exists()]
    known = [folder for folder in folders if artifacts.pointer(folder).exists()]
    for folder in known:
        repo.commit(str(artifacts.pointer(folder)), force=True)
    if new := [str(folder) for folder in folders if folder not in known]:
        repo.add(new)  # at once, for DVC looks through the whole catalog at each call


def recorded_md5(folder: Path, commit: str | None = None) -> str | None:
    """Return the md5 under which DVC tracks a folder, now or as of a Git commit; None where it does not."""
    path = artifacts.pointer(folder)
    now = path.read_text(encoding="utf-8") if path.exists() else None
    text = git("show", f"{commit}:./{path.as_posix()}") if commit else now
    return yaml.safe_load(text)["outs"][0].get("md5") if text else None


def recorded_files(repo: Repo, md5: str) -> dict[str, str]:
    """Return name -> md5 of the files of a folder that DVC recorded under this md5; what its cache lacks is brought from the default remote.

    Raises:
        ValueError: neither has all of it, or the list is not the one that was recorded.
    """
    bring(repo, [md5])
    data = cached(repo, md5).read_bytes()
    if f"{hashlib.md5(data, usedforsecurity=False).hexdigest()}.dir" != md5:
        raise ValueError(f"{cached(repo, md5)} is damaged, it is not {md5}; delete it, and the remote's is fetched")
    files = {entry["relpath"]: entry["md5"] for entry in json.loads(data)}
    bring(repo, list(files.values()))
    return files


def bring(repo: Repo, md5s: Sequence[str]) -> None:
    """Bring what DVC's cache lacks from the default remote."""
    missing = [md5 for md5 in md5s if not cached(repo, md5).exists()]
    if not missing:
        return
    try:
        repo.cloud.pull([HashInfo("md5", md5) for md5 in missing])
    except (DvcException, OSError) as error:
        raise ValueError(f"{', '.join(missing)} is not in DVC's cache and cannot be fetched: {error}") from error
    if gone := [md5 for md5 in missing if not cached(repo, md5).exists()]:
        raise ValueError(f"{', '.join(gone)} is neither in DVC's cache nor in its remote; `dvc push` it from where it was added")


def cached(repo: Repo, md5: str) -> Path:
    """Return where DVC's cache has, or would have, a file or the list of a folder's files."""
    return Path(repo.cache.local.oid_to_path(md5))


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


def receive(repo: Repo, concepts: Sequence[str]) -> int:
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
    # Sets that no concept uses are not the team's: they lie in the remote that they came with.
    needed = {str(folder.absolute()) for concept in concepts for folder in artifacts.inputs(concept)}
    outs = [out for out in repo.index.outs if not out.stage.is_data_source or out.fs_path in needed]
    if missing := sorted(out.def_path for out in outs if out.hash_info and not out.exists):
        raise ValueError(f"DVC's remote lacks {', '.join(missing)}; whoever committed what names them has to run `wordmint push`")
    return fetched
