"""The errors that a retry of a stage may well escape."""

import errno
from typing import Any

AWAY = (errno.EIO, errno.ESTALE, errno.EBUSY, errno.EHOSTUNREACH, errno.ENETUNREACH)


def transient(task: Any, run: Any, state: Any) -> bool:
    """Tell Prefect whether a failed task may well succeed on a retry, because a server or a file system was away for a moment."""
    error = state.result(raise_on_failure=False)
    while error is not None and not isinstance(error, (ConnectionError, TimeoutError)) and getattr(error, "errno", None) not in AWAY:
        error = error.__cause__ or error.__context__  # MLflow raises one error for a server that is away and one that refuses; the causes differ
    return error is not None
