"""What another process does to an operation here, such as a `dvc repro` that somebody started beside a build."""

import os
from pathlib import Path

from tasks import artifacts


def explained(error: Exception) -> str:
    """Return an error's text, and for a missing file who may have removed it: DVC deletes a stage's results before it runs the stage."""
    missing = error.filename if isinstance(error, FileNotFoundError) else None
    if isinstance(missing, str | Path) and (writer := other_writer(Path(missing).absolute())):
        return f"{error}; the catalog is blocked by {writer}, which deletes results before it makes them anew; try again when it has ended"
    return str(error)


def other_writer(missing: Path) -> str | None:
    """Return the command and PID of another process that DVC lets write to the place of a missing file; None if there is none.

    This process and those that started it are no others: a stage runs while `dvc repro` holds the place of its results.
    """
    import psutil  # comes with DVC

    try:
        record = artifacts.read_json(Path(".dvc/tmp/rwlock"))
    except (OSError, ValueError):  # there was no writer yet, or one is writing this record
        return None
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    places = record.get("write", {}).items()  # absolute paths, as DVC records them
    writers = {info["pid"]: info["cmd"] for place, info in places if missing.is_relative_to(place) and info["pid"] not in own}
    return next((f"`{command}` (PID {pid})" for pid, command in writers.items() if psutil.pid_exists(pid)), None)
