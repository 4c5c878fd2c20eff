"""How a build shows itself to a person: one bar over all stale concepts."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from tasks.settings import Settings

BAR: ContextVar[Progress | None] = ContextVar("bar", default=None)


@contextmanager
def progress(console: Console) -> Iterator[None]:
    """Show the progress of the builds in this block."""
    columns = (TextColumn("{task.description:<22}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        token = BAR.set(bar)
        try:
            yield
        finally:
            BAR.reset(token)


@contextmanager
def counted(concepts: Sequence[str]) -> Iterator[Callable[[], object]]:
    """Give what is called when a concept is done."""
    bar = BAR.get()
    if bar is None:
        yield lambda: None
        return
    line = bar.add_task("concepts", total=len(concepts))
    yield lambda: bar.advance(line)


@contextmanager
def stage_bar(concepts: Sequence[str], stage: str, settings: Settings) -> Iterator[Callable[..., object]]:
    """Give what a stage calls at every step of its own; a stage without steps has none to count."""
    bar = BAR.get()
    if bar is None:
        yield lambda *_: None
        return
    total = {"invert": settings.invert.max_train_steps, "sample": len(settings.prompts(concepts[0]))}.get(stage, 1)
    lines: dict[str, TaskID] = {}

    def advance(word: Any = None) -> None:
        """An inversion tells its word, whose step counts on from a checkpoint; a word has a line while it is in the batch."""
        concept = word.concept if word else concepts[0]
        if concept not in lines:
            lines[concept] = bar.add_task(f"{concept}: {stage}", total=total)
        if word:
            bar.update(lines[concept], completed=word.step, visible=not word.done)
        else:
            bar.advance(lines[concept])

    try:
        yield advance
    finally:
        for line in lines.values():
            bar.remove_task(line)
