"""How the `wordmint` process ends."""

import atexit
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def swift_end() -> Iterator[None]:
    """Let the process end, after a block that succeeds, without freeing its objects one by one, which takes seconds after torch and MLflow.

    What was to be done at the end before the block began is left out, but for the logs; what came later is done, Prefect's server among it.
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
