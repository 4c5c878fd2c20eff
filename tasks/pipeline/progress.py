"""The progress of a stage. A stage reports it whether or not a listener, such as a progress bar, is set."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str, int, int], object]
LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)


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
