"""DVC's run-cache, which knows the results of inputs, between this machine and the default remote."""

import re
from typing import Any

from dvc.fs import HTTPFileSystem
from dvc.stage import Stage
from dvc.stage.cache import RunCacheNotSupported, StageCache
from dvc_objects.fs import generic

from tasks.pipeline.fingerprints import REPORT

Entry = tuple[str, str]
"""The hash of a command with its inputs, and the hash of these with the outputs."""


class RunCache(StageCache):
    """A run-cache that transfers only the entries that the other side lacks; DVC transfers all of them each time."""

    def save(self, stage: Stage) -> None:
        """Keep the result of a stage, except the report's: its entry has every concept, so each build of a large catalog would add a megabyte."""
        if stage.addressing != REPORT:
            super().save(stage)

    def transfer(self, from_odb: Any, to_odb: Any, force: bool = True) -> list[Entry]:
        """Copy entries to the other side and return them.

        Raises:
            RunCacheNotSupported: one side is an HTTP remote, which cannot be listed.
            OSError: an entry could not be copied.
        """
        if any(isinstance(odb.fs, HTTPFileSystem) for odb in (from_odb, to_odb)):
            raise RunCacheNotSupported("DVC cannot list the run-cache of an HTTP remote")
        there = entries(to_odb)
        new = [entry for entry in entries(from_odb) if entry not in there]
        if new:
            generic.copy(from_odb.fs, [path_of(from_odb, entry) for entry in new], to_odb.fs, [path_of(to_odb, entry) for entry in new])
        return new


def entries(odb: Any) -> set[Entry]:
    """Return the entries of one side."""
    runs = odb.fs.join(odb.path, "runs")
    found = odb.fs.find(runs) if odb.fs.exists(runs) else ()
    return {entry for path in found if re.fullmatch(r"[0-9a-f]{64}", (entry := odb.fs.parts(path)[-2:])[1])}  # not the half of a killed writer


def path_of(odb: Any, entry: Entry) -> str:
    """Return where an entry lies, or would lie."""
    key, name = entry
    return str(odb.fs.join(odb.path, "runs", key[:2], key, name))
