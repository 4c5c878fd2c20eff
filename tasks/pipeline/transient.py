"""Which errors may well be gone when a stage is tried again."""

import errno
from typing import Any

AWAY = (errno.EIO, errno.ESTALE, errno.EBUSY, errno.EHOSTUNREACH, errno.ENETUNREACH)


def transient(task: Any, run: Any, state: Any) -> bool:
    """Tell Prefect whether a task that failed may well succeed when it is tried again: a server or a file system was away for a moment."""
    error = state.result(raise_on_failure=False)
    while error is not None and not isinstance(error, (ConnectionError, TimeoutError)) and getattr(error, "errno", None) not in AWAY:
        error = error.__cause__ or error.__context__  # MLflow says the same of a server that is away and of one that refuses; its cause differs
    return error is not None
