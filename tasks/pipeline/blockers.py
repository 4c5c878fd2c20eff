"""What another process does to an operation here, such as a `dvc repro` that somebody started beside a build."""

import os
from pathlib import Path

from tasks import artifacts


def explained(error: Exception) -> str:
    """Return an error's text, and for a missing file who may have removed it: DVC deletes a stage's results before it runs the stage."""
    if isinstance(error, FileNotFoundError) and (writer := other_writer()):
        return f"{error}; the catalog is blocked by {writer}, which deletes results before it makes them anew; try again when it has ended"
    return str(error)


def other_writer() -> str | None:
    """Return the command and PID of another process that DVC lets write to the catalog in this folder; None if there is none."""
    import psutil  # comes with DVC

    try:
        record = artifacts.read_json(Path(".dvc/tmp/rwlock"))
    except (OSError, ValueError):  # there was no writer yet, or one is writing this record
        return None
    writers = {info["pid"]: info["cmd"] for info in record.get("write", {}).values() if info["pid"] != os.getpid()}
    return next((f"`{command}` (PID {pid})" for pid, command in writers.items() if psutil.pid_exists(pid)), None)
