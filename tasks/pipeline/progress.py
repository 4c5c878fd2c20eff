"""The progress of a stage. A stage reports it whether or not a listener, such as a progress bar, is set, and draws samples if somebody watches."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tasks.artifacts import CACHE

Listener = Callable[[str, int, int], object]
LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)
PREVIEWS = CACHE / "previews"
"""A folder for each concept, with samples that were drawn while it was learned."""
WATCHED = CACHE / "watched"
"""A file whose time says when somebody last looked at a build."""
LATELY = 10.0  # s


def watch() -> None:
    """Say that somebody looks at the build now."""
    WATCHED.parent.mkdir(parents=True, exist_ok=True)
    WATCHED.touch()


def is_watched() -> bool:
    return WATCHED.exists() and time.time() - WATCHED.stat().st_mtime < LATELY


def tell(concept: str, step: int, steps: int) -> None:
    """Report that a stage has done `step` of a concept's `steps`."""
    if listener := LISTENER.get():
        listener(concept, step, steps)


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Call `listener` with the progress of the stages that run in this block."""
    token = LISTENER.set(listener)
    try:
        yield
    finally:
        LISTENER.reset(token)
