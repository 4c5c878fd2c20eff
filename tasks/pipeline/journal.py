"""The journal of stages that are recorded and not in dvc.lock yet.

DVC keeps all stages in one file, which is written as a whole: the larger the catalog, the longer a write takes. A build appends each stage to the
journal and writes dvc.lock at its end. A killed build leaves its journal, and the next command that opens the catalog goes on from there.
"""

import hashlib
import json
import os
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from tasks.faults import point

Entries = MutableMapping[str, Any]
"""Stage -> its entry in dvc.lock."""


def append(journal: Path, end: int, entries: Entries, stage: str, entry: Any) -> int:
    """Append a stage's new entry, put it into `entries`, and return the journal's new end.

    end: where the last whole line ends; what a killed process began to write behind it is dropped.
    """
    line = json.dumps([stage, digest(entries.get(stage)), entry]).encode() + b"\n"
    with journal.open("ab") as file:
        file.truncate(end)
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
    point("journal: line written")
    entries[stage] = entry
    return end + len(line)


def replay(journal: Path, start: int, entries: Entries) -> int:
    """Put the lines from byte `start` into `entries`, and return where the last whole line ends.

    A line counts only if the entry that it replaced is still there. Otherwise dvc.lock has the line already, or something newer.
    """
    if not journal.exists():
        return 0
    with journal.open("rb") as file:
        file.seek(start)
        text = file.read()
    whole = text[: text.rfind(b"\n") + 1]
    for line in whole.splitlines():
        stage, replaced, entry = json.loads(line)
        if digest(entries.get(stage)) == replaced:
            entries[stage] = entry
    return start + len(whole)


def digest(entry: Any) -> str:
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()
