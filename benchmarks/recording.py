"""Recording in a large catalog: `python -m benchmarks.recording [COUNT...] [--json]`, CPU seconds of one stage of one concept among COUNT.

The peer is what DVC's own commands call in the same process: `Repo.stage.collect` and `status` to ask, `Repo.commit` to record. Both have read the
catalog before. A build asks and records once for each stage, and hashes the stage's inputs twice. It writes dvc.lock once, DVC once for each stage.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.made_up import make_catalog
from benchmarks.result import Row, show
from tasks import artifacts
from tasks.pipeline import repository

STAGE = "curate@c1"


def seconds_of(work: Callable[[], object]) -> float:
    """Return the CPU seconds that this process spends in a call."""
    started = time.process_time()
    work()
    return time.process_time() - started


def ask_as_dvc_does(repo: repository.Repo) -> None:
    (stage,) = repo.stage.collect(STAGE)
    with repo.lock:
        stage.status(check_updates=False)


def measured(count: int) -> list[Row]:
    """Return the rows of the catalog in the working directory, which has `count` concepts."""
    with repository.open_repo() as repo:
        repository.why(repo, "curate@c0")
        asked = seconds_of(lambda: repository.why(repo, STAGE)), seconds_of(lambda: ask_as_dvc_does(repo))
        artifacts.write_bytes(artifacts.manifest("c1"), b"new")
        before = repository.snapshot(repo, STAGE)
        recorded = seconds_of(lambda: repository.record(repo, STAGE, before))
        with repo.lock:
            written = seconds_of(repo.settle)
        peer = seconds_of(lambda: repo.commit(STAGE, force=True))
    rows = {"ask": asked, "record": (recorded, peer), "write dvc.lock, once a build": (written, peer)}
    return [Row(f"{count} concepts: {what}", *numbers, "s") for what, numbers in rows.items()]


def main(
    counts: Annotated[list[int] | None, typer.Argument(help="concepts of a catalog")] = None, as_json: Annotated[bool, typer.Option("--json")] = False
) -> None:
    """Measure asking and recording."""
    rows, home = [], Path.cwd()
    for count in counts or [20, 200]:
        with tempfile.TemporaryDirectory() as folder:
            make_catalog(Path(folder), count)
            rows += measured(count)
            os.chdir(home)
    show("recording", rows, "dvc", as_json)


if __name__ == "__main__":
    typer.run(main)
