"""How a build shows itself to a person: one bar over all stale concepts."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

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


def counted(concepts: Sequence[str]) -> Iterator[str]:
    """Yield concepts while a bar counts them."""
    bar = BAR.get()
    if bar is None or not concepts:
        yield from concepts
        return
    line = bar.add_task("concepts", total=len(concepts))
    for concept in concepts:
        yield concept
        bar.advance(line)


@contextmanager
def stage_bar(concept: str, stage: str, settings: Settings) -> Iterator[Callable[..., object]]:
    """Give what a stage calls at every step of its own; a stage without steps has none to count."""
    bar = BAR.get()
    if bar is None:
        yield lambda *_: None
        return
    totals = {"invert": settings.invert.max_train_steps, "sample": len(settings.prompts(concept))}
    line = bar.add_task(f"{concept}: {stage}", total=totals.get(stage, 1))
    try:
        # An inversion tells its word, whose step counts on from a checkpoint.
        yield lambda word=None: bar.update(line, completed=word.step) if word else bar.advance(line)
    finally:
        bar.remove_task(line)
