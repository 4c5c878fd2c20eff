"""How a build shows itself to a person: one bar over all stale concepts."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from flows import watching
from flows.outcome import BuildFailed
from tasks.pipeline.door import MENDABLE
from tasks.pipeline.progress import heard_by

RUNS = ("prefect.flow_runs", "prefect.task_runs")

BAR: ContextVar[Progress | None] = ContextVar("bar", default=None)


@contextmanager
def progress(console: Console) -> Iterator[None]:
    """Show the progress of the builds in this block."""
    columns = (TextColumn("{task.description:<22}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with one_line_each(), Progress(*columns, console=console, transient=True) as bar:
        token = BAR.set(bar)
        try:
            yield
        finally:
            BAR.reset(token)


@contextmanager
def one_line_each() -> Iterator[None]:
    """Keep off the terminal what Prefect logs of an error that a person can mend: the command says it in one line. The run's own log has it all."""

    def unexpected(record: logging.LogRecord) -> bool:
        raised = record.exc_info[1] if record.exc_info else None
        return record.name not in RUNS or record.levelno < logging.ERROR or not (raised is None or isinstance(raised, (*MENDABLE, BuildFailed)))

    handlers = [] if os.environ.get("WORDMINT_TRACEBACK") else list(logging.getLogger().handlers)
    for handler in handlers:
        handler.addFilter(unexpected)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(unexpected)


@contextmanager
def counted(concepts: Sequence[str]) -> Iterator[Callable[[], object]]:
    """Yield a function to call when a concept is done."""
    bar = BAR.get()
    if bar is None:
        yield lambda: None
        return
    line = bar.add_task("concepts", total=len(concepts))
    yield lambda: bar.advance(line)


@contextmanager
def stage_bars(stage: str, concepts: Sequence[str]) -> Iterator[None]:
    """Say that a stage is at work on concepts, and draw a line for each whose progress it reports."""
    bar = BAR.get()
    lines: dict[str, TaskID] = {}

    def advance(concept: str, step: int, steps: int) -> None:
        watching.tell_step(concept, stage, step, steps)
        if bar is None:
            return
        if concept not in lines:
            lines[concept] = bar.add_task(f"{concept}: {stage}", total=steps)
        bar.update(lines[concept], completed=step, total=steps, visible=step < steps)

    for concept in concepts:
        watching.tell("stage", concept=concept, stage=stage)
    try:
        with heard_by(advance):
            yield
    finally:
        for line in lines.values():
            assert bar
            bar.remove_task(line)
