"""Files that DVC cannot read: a pipe would stop it for ever, and each of the others would stop every command for every concept."""

import os
import stat
from pathlib import Path

from tasks.pictures.names import printable


def unreadable(path: Path) -> str | None:
    """Return the fault of the first file at or below `path` that DVC cannot read, and the remedy; None where it can read all."""
    alone = os.path.lexists(path) and not path.is_dir()
    # Strings instead of paths take a third of the time: the report's cards are ten thousand files.
    files = [str(path)] if alone else sorted(os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)
    return next((f"{printable(file)} is {fault}" for file in files if (fault := fault_of(file))), None)


def refuse_unreadable(path: Path) -> None:
    """Raise a ValueError if DVC cannot read all files at or below `path`."""
    if fault := unreadable(path):
        raise ValueError(fault)


def fault_of(file: str) -> str | None:
    try:
        file.encode()
        mode = os.stat(file).st_mode
    except UnicodeEncodeError:
        return "a name that is not UTF-8; rename it"
    except OSError:
        return "a link that leads nowhere; remove it"
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        return "not a regular file; remove it"
    return None if os.access(file, os.R_OK) else "a file without read permission; make it readable or remove it"
