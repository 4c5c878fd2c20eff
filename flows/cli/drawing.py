"""What every drawing command starts with: the settings, the device's lock, and errors in one line."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from tasks.pipeline.device import device_lock
from tasks.pipeline.door import one_line_errors
from tasks.settings import Settings, load_settings


@contextmanager
def drawing(here: bool = True) -> Iterator[Settings]:
    """Yield the settings and hold the device while the block draws; a build or another command on the same GPU waits.

    here: whether this process draws; one that asks another process to draw holds nothing.
    """
    with one_line_errors():
        settings = load_settings()
        with device_lock(settings.runtime.device) if here else nullcontext():
            yield settings
