"""What replaced results left behind in DVC's cache on this machine.

A file stays if a .dvc file or dvc.lock names it, on disk, in Git's index, or in any commit that a branch, a tag, the stash or the reflog reaches. The
pictures of every registered version stay too. The registry itself keeps the bytes of each version's word.
"""

import re
import subprocess
from pathlib import Path

import yaml
from dvc.scm import NoSCM

from tasks.documents import Loader
from tasks.pipeline import recorded, run_cache, storage
from tasks.pipeline.catalog_repo import CatalogRepo
from tasks.registry import connection, reading
from tasks.settings import Settings

MD5 = re.compile(r"\bmd5: ([0-9a-f]{32}(?:\.dir)?)\b")
MD5_IN_LIST = re.compile(r'"md5": "([0-9a-f]{32})"')
CACHED = re.compile(r"[0-9a-f]{30}(\.dir)?")


def superseded(repo: CatalogRepo, settings: Settings) -> list[Path]:
    """Return the entries of the run-cache that lead to files that nothing else names, and then these files of DVC's cache.

    Raises:
        ValueError: the cache lies outside this repository, where other repositories may need it too, or Git cannot be asked.
    """
    root = Path(repo.cache.local.path)
    if not root.is_relative_to(repo.root_dir):
        raise ValueError(f"DVC's cache {root} lies outside this repository, and others may need what is in it; use `dvc gc` there")
    needed = named(repo) | registered(settings)
    for folder in [md5 for md5 in needed if md5.endswith(".dir") and storage.cached(repo, md5).exists()]:
        needed |= set(MD5_IN_LIST.findall(storage.cached(repo, folder).read_text(encoding="utf-8")))
    files = {path.parent.name + path.name: path for path in root.glob("[0-9a-f][0-9a-f]/*") if CACHED.fullmatch(path.name)}
    gone = files.keys() - needed
    return [entry for entry in entries(repo) if gone & outputs(entry)] + [files[md5] for md5 in sorted(gone)]


def named(repo: CatalogRepo) -> set[str]:
    """Return every md5 that dvc.lock and the .dvc files name, on disk and in Git."""
    paths = [Path("dvc.lock"), *recorded.pointers(repo.stages().lockfile_data)]
    texts = [path.read_text(encoding="utf-8") for path in paths if path.exists()]
    return set(MD5.findall("\n".join(texts if isinstance(repo.scm, NoSCM) else [*texts, committed()])))


def committed() -> str:
    """Return the texts of dvc.lock and of the .dvc files that Git has in its index and in every commit that it has not forgotten.

    Raises:
        ValueError: Git fails.
    """
    try:
        command = ["git", "rev-list", "--objects", "--all", "--reflog", "--indexed-objects"]
        objects = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        blobs = [line.split(" ", 1)[0] for line in objects if re.search(r"[^/ ]\.dvc$|dvc\.lock$", line)]  # not the folder .dvc
        command = ["git", "cat-file", "--batch"]
        return subprocess.run(command, input="\n".join(blobs), capture_output=True, text=True, check=True, errors="replace").stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise ValueError(f"Git cannot say which results its commits need ({error}), so none is deleted") from error


def registered(settings: Settings) -> set[str]:
    """Return the md5 of each folder that a registered version was made from."""
    uri = connection.tracking_uri(settings)
    if not connection.exists(uri):
        return set()
    connection.connect(uri)
    versions = reading.minted(f"name LIKE '{connection.PREFIX}%'")
    return {value for version in versions for key, value in version.tags.items() if key in ("dataset_digest", "imported_digest")}


def entries(repo: CatalogRepo) -> list[Path]:
    """Return the files of the run-cache."""
    runs = repo.cache.legacy
    return sorted(Path(run_cache.path_of(runs, entry)) for entry in run_cache.entries(runs))


def outputs(entry: Path) -> set[str]:
    """Return the md5 of each output that an entry of the run-cache has."""
    content = yaml.load(entry.read_text(encoding="utf-8"), Loader) or {}
    return {out["md5"] for out in content.get("outs", ()) if "md5" in out}
