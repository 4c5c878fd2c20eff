"""A catalog's DVC repository in the memory of a process: its stages, and the records that are in the journal and not in dvc.lock yet."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dvc.dvcfile import ProjectFile, load_file
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.stage import PipelineStage
from dvc.stage.loader import StageLoader
from dvc.stage.serialize import to_single_stage_lockfile

from tasks import artifacts, faults
from tasks.pipeline import journal, lockfile
from tasks.pipeline.remembered import FileState, file_states
from tasks.pipeline.run_cache import RunCache

DECLARATIONS = ("dvc.yaml", "params.yaml", str(lockfile.LOCK))
"""The files that declare and record the stages."""


def read_by_dvc(file: ProjectFile) -> Mapping[str, Any]:
    """Return the entries of dvc.lock.

    Raises:
        ValueError: DVC cannot read it.
    """
    try:
        return file.lockfile_contents.get("stages") or {}
    except DvcException as error:
        raise ValueError(lockfile.DAMAGED) from error


class CatalogRepo(Repo):
    """A DVC repository that reads dvc.lock only when it changed, and writes it once for many stages; DVC does both for every stage."""

    loaded: tuple[list[FileState], StageLoader] | None = None
    replayed = 0
    """The bytes of the journal that `loaded` has."""
    wrote = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stage_cache = RunCache(self)

    @property
    def journal(self) -> Path:
        return Path(self.tmp_dir, "wordmint-journal.jsonl")

    def stages(self) -> StageLoader:
        """Return the stages by name, as they are declared and recorded now."""
        states = file_states(DECLARATIONS)
        if self.loaded is None or self.loaded[0] != states:
            file = load_file(self, "dvc.yaml")
            entries = lockfile.read(lambda: read_by_dvc(file))
            self.loaded, self.replayed = (states, StageLoader(file, file.contents, {"stages": entries})), 0
        self.replayed = journal.replay(self.journal, self.replayed, self.loaded[1].lockfile_data)
        return self.loaded[1]

    def write(self, stage: PipelineStage) -> None:
        """Record a stage's entry in the journal; the caller holds the lock."""
        entries, entry = self.stages().lockfile_data, json.loads(json.dumps(to_single_stage_lockfile(stage)))
        self.replayed, self.wrote = journal.append(self.journal, self.replayed, entries, stage.name, entry), True

    def settle(self) -> None:
        """Write what the journal has into dvc.lock, the only place where DVC's own commands look; the caller holds the lock."""
        if not self.journal.exists():
            return
        # A person may have spoilt params.yaml meanwhile, which declares stages and records none.
        stages = self.stages() if self.loaded and self.loaded[0] == file_states(DECLARATIONS) else None
        entries = stages.lockfile_data if stages else lockfile.read(lambda: read_by_dvc(load_file(self, "dvc.yaml")))
        journal.replay(self.journal, self.replayed if stages else 0, entries)
        artifacts.write_bytes(lockfile.LOCK, entries.text().encode())
        faults.point("dvc.lock written, journal not removed")
        self.journal.unlink()
        self.loaded, self.replayed = (file_states(DECLARATIONS), stages) if stages else None, 0

    def flush(self) -> None:
        """Write into dvc.lock what this process has recorded."""
        if self.wrote:
            with self.lock:
                self.settle()

    def _reset(self) -> None:
        """Settle before each of DVC's own operations, which begins and ends with this call while it holds the lock."""
        if self.wrote:
            self.settle()
        super()._reset()

    def close(self) -> None:
        self.flush()
        super().close()
