"""How far a stage is. A stage tells it without knowing who listens: a progress bar, or nobody."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str, int, int], object]
LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)


def tell(concept: str, step: int, steps: int) -> None:
    """Tell that a stage has done `step` of a concept's `steps`."""
    if listener := LISTENER.get():
        listener(concept, step, steps)


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Let `listener` hear of the stages that run in this block."""
    token = LISTENER.set(listener)
    try:
        yield
    finally:
        LISTENER.reset(token)
