"""What is tried again, and what is not."""

import errno
from types import SimpleNamespace

import pytest

from tasks.pipeline.transient import transient


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (ConnectionError("away"), True),
        (TimeoutError("slow"), True),
        (OSError(errno.ESTALE, "stale"), True),
        (caused(RuntimeError("MLflow"), ConnectionRefusedError("refused")), True),
        (OSError(errno.ENOSPC, "full"), False),
        (ValueError("a mistake"), False),
        (caused(RuntimeError("MLflow"), ValueError("a mistake")), False),
    ],
)
def test_only_what_may_pass_is_tried_again(error: Exception, again: bool) -> None:
    state = SimpleNamespace(result=lambda raise_on_failure: error)
    assert transient(None, None, state) is again
