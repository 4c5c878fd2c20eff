"""Builds that the app starts, as `wordmint build` in a process of its own; they outlive the app, and it shows those that others started too."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

from flows import watching
from tasks import artifacts
from tasks.pipeline import fingerprints, repository
from tasks.pipeline.device import running_build
from tasks.pipeline.progress import PREVIEWS
from tasks.settings import Settings

LOG = artifacts.CACHE / "build.log"
SHOWN = 200  # lines of the log


def start(concepts: Sequence[str], settings: Settings) -> None:
    """Start a build of these concepts, or of all.

    Raises:
        ValueError: a concept is not in params.yaml, or a build is running.
    """
    settings.chosen(list(concepts))
    command = [sys.executable, "-P", "-m", "flows.cli.main", "build", *concepts]  # -P: never the code that lies in the catalog's folder
    plain = {"NO_COLOR": "1", "COLUMNS": "120", "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore::UserWarning"}  # torch warns of itself
    with STARTING:
        if running_build() is not None or begun() is not None:
            raise ValueError("a build of this catalog is running; wait until it has ended")
        artifacts.write_bytes(LOG, b"")
        with LOG.open("ab") as log:  # a session of its own, so that Ctrl-C ends the app and not the build
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=os.environ | plain)
        STARTED.append(process)


def begun() -> int | None:
    """Return the id of the process of a build that this process started and that has not ended, or None.

    It imports for seconds before it holds the catalog and is `running_build`.
    """
    return next((process.pid for process in STARTED if process.poll() is None), None)


STARTING = threading.Lock()  # of two requests at once, one starts a build
STARTED: list[subprocess.Popen] = []
"""The builds that this process started; asking them how they ended keeps them from staying behind as zombies."""


def cancel() -> None:
    """Stop the build that is running, whoever started it, as Ctrl-C does: what is finished stays, and the next build goes on from there.

    Raises:
        ValueError: none is running here.
    """
    if not (at_work := running_build() or begun()):
        raise ValueError("no build is running")
    os.kill(at_work, signal.SIGTERM)


def watched() -> dict[str, Any]:
    """Return what `watching.last_build` does, and {starting, log, previews}.

    starting: whether a build was started that has not begun. log: its end. previews: concept -> the names of the samples that were drawn
    while it was learned.
    """
    build = watching.last_build()
    starting = not build["running"] and begun() is not None
    text = LOG.read_text(encoding="utf-8", errors="replace") if LOG.exists() else ""
    previews = {concept: sorted(path.name for path in (PREVIEWS / concept).glob("*.png")) for concept in build["concepts"]}
    return build | {"starting": starting, "log": "\n".join(text.splitlines()[-SHOWN:]), "previews": previews}


def stale(settings: Settings) -> dict[str, dict[str, list[str]]]:
    """Return concept -> stage -> why it is stale, of the stale concepts, as `wordmint status` does.

    DVC is asked only about what changed since it was asked last, and not while a build writes or another thread asks: the reasons are empty then.
    """
    current = fingerprints.fingerprints_of(list(settings.concepts))
    changed = fingerprints.changed(current)
    if running_build() is not None or not ASKING.acquire(blocking=False):
        return {concept: {} for concept in changed}
    try:
        key = fingerprints.digest_of({concept: current[concept] for concept in changed})
        if changed and key not in ANSWERS:
            found: dict[str, dict[str, list[str]]] = {}
            with repository.open_repo() as repo:
                for name, reasons in repository.stale_among(repo, changed, current).items():
                    stage, _, concept = name.partition("@")
                    found.setdefault(concept, {})[stage] = reasons
            ANSWERS.clear()
            ANSWERS[key] = found
        return ANSWERS[key] if changed else {}
    finally:
        ASKING.release()


ASKING = threading.Lock()
ANSWERS: dict[str, dict[str, dict[str, list[str]]]] = {}
"""The last answer of DVC, under the digest of the fingerprints that it was about."""
