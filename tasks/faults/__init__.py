"""Named points between two writes, at which a test breaks the process; they do nothing unless WORDMINT_FAULT names one of them."""

import errno
import os
import signal
import time

VARIABLE = "WORDMINT_FAULT"


def point(name: str) -> None:
    """Strike here if WORDMINT_FAULT is `<name>=kill`, `<name>=full` or `<name>=sleep`."""
    wanted, _, fault = os.environ.get(VARIABLE, "").partition("=")
    if wanted == name:
        strike(fault)


def strike(fault: str) -> None:
    """Kill this process, fill its disk, or let it sleep for a second.

    Raises:
        OSError: the disk is full.
        ValueError: there is no such fault.
    """
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    elif fault == "sleep":
        time.sleep(1)
    else:
        raise ValueError(f"{VARIABLE} names the fault {fault!r}; use kill, full or sleep")
