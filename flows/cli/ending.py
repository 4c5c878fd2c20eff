"""How the `wordmint` process ends."""

import atexit
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def as_interrupts() -> None:
    """Let SIGTERM end this process as Ctrl-C does, and keep Prefect from reporting either for every task and flow."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(lambda record: "aborted by" not in record.getMessage())


@contextmanager
def swift_end() -> Iterator[None]:
    """End the process after a block that succeeds without freeing its objects one by one, which takes seconds with torch and MLflow.

    Exit handlers that were registered before the block are skipped, except for the logs; those registered later run, such as Prefect's server's.
    """

    def leave() -> None:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)

    atexit.register(leave)
    try:
        yield
    except BaseException as error:
        if not isinstance(error, SystemExit) or error.code:
            atexit.unregister(leave)
        raise
