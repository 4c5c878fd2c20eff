"""Checking out: recorded files go from DVC's cache to disk where they are missing or different. DVC's own takes time quadratic in the outputs."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from dvc.repo import Repo
from dvc_data.hashfile import load
from dvc_data.hashfile.build import build
from dvc_data.hashfile.checkout import checkout
from dvc_data.hashfile.diff import DiffResult, diff
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.obj import HashFile
from dvc_data.hashfile.tree import Tree
from dvc_data.hashfile.utils import get_mtime_and_size
from dvc_objects.fs.local import localfs
from dvc_objects.fs.system import inode

from tasks.pipeline.fingerprints import folder_states
from tasks.pipeline.recorded import Out, listed
from tasks.pipeline.unreadable import refuse_unreadable


def check_out(repo: Repo, outs: Mapping[Out, Mapping[str, str]]) -> None:
    """Write outputs to disk where they are missing or different; DVC's cache has them, and the caller holds the lock.

    outs: path -> md5 of each output's files.

    Raises:
        ValueError: a file that would be overwritten or deleted is recorded nowhere; nothing has been changed then.
    """
    different, lost, same = [], list[str](), as_recorded(repo, outs)
    for out in outs:
        if out in same:
            continue
        before, after = on_disk(repo, out), load(repo.cache.local, HashInfo("md5", out.md5))
        if changes := diff(before, after, repo.cache.local):
            different.append((out, before, after))
            lost += unsaved_files(out, changes)
    if lost:
        raise unsaved(lost)
    for out, before, after in different:
        checkout(os.path.abspath(out.path), localfs, after, repo.cache.local, force=True, old=before)
    remember(repo, [(os.path.abspath(out.path), after) for out, _, after in different])


def as_recorded(repo: Repo, outs: Mapping[Out, Mapping[str, str]]) -> set[Out]:
    """Return the outputs whose files are those of the record by the hashes that DVC remembers; of the others, some may be so too."""
    there = {out: [path for path, *_ in folder_states(out.path)] if os.path.isdir(out.path) else [out.path] for out in outs}
    infos = {os.path.abspath(path): localfs.info(path) for paths in there.values() for path in paths if os.path.isfile(path)}
    known = {path: hashed.value for path, _, hashed in repo.state.get_many(list(infos), localfs, infos) if hashed and hashed.name == "md5"}
    return {out for out, files in outs.items() if {path: known.get(os.path.abspath(path)) for path in there[out]} == files}


def remember(repo: Repo, written: Sequence[tuple[str, HashFile]]) -> None:
    """Note the hashes of files, and which outputs DVC has put on disk, as DVC does; it opens a database for each output, which takes longest."""
    for path, content in written:
        files = {os.path.join(path, *key): file for key, _, file in content} if isinstance(content, Tree) else {path: content.hash_info}
        repo.state.save_many([(file, hashed, None) for file, hashed in files.items()], localfs)
    with repo.state.links as links, links.transact():
        for path, _ in written:
            links[os.path.relpath(path, repo.root_dir)] = inode(path), get_mtime_and_size(path, localfs, repo.dvcignore)[0]


def on_disk(repo: Repo, out: Out) -> HashFile | None:
    """Return an output as it is on disk; None where it is missing."""
    if not os.path.lexists(out.path):
        return None
    refuse_unreadable(Path(out.path))
    return build(repo.cache.local, os.path.abspath(out.path), localfs, "md5", ignore=repo.dvcignore, dry_run=True)[2]


def unsaved_files(out: Out, changes: DiffResult) -> Iterator[str]:
    """Return the files that would be overwritten or deleted and whose contents DVC's cache does not have."""
    for change in (*changes.deleted, *changes.modified):
        if change.old.oid and not change.old.oid.isdir and not change.old.in_cache:
            yield os.path.join(out.path, *change.old.key).rstrip("/")


def unsaved(paths: Sequence[str]) -> ValueError:
    return ValueError(f"{listed(paths)} would be lost: it is recorded nowhere; keep it with `dvc add FOLDER`, or move it away")


def forget_unused(repo: Repo, outs: Iterable[Out]) -> None:
    """Delete what DVC has put on disk and nothing declares any more, such as the results of a concept that was removed; changed files stay."""
    used = {os.path.abspath(out.path) for out in outs}
    if repo.state.get_unused_links(used, repo.fs):
        used = {out.fspath for out in repo.index.outs}  # with those that are declared and not recorded
        repo.state.remove_links(repo.state.get_unused_links(used, repo.fs), repo.fs)
