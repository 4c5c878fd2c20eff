"""What a build of this catalog does, for whoever watches it from another process: .cache/building.jsonl, a line for each event of the last build."""

import json
import os
import threading
import time
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from tasks.artifacts import CACHE, write_bytes
from tasks.pipeline.device import running_build

EVENTS = CACHE / "building.jsonl"
LATER = 0.25  # s; the steps between are not told
told: dict[str, float] = {}
"""Concept -> when its last step was told, by the clock of `time.monotonic`."""


def begin(concepts: list[str]) -> None:
    """Start a new record, for a build of these concepts; one that has nothing to build leaves the last record as it is."""
    told.clear()
    if concepts:
        write_bytes(EVENTS, line("begin", concepts=concepts))


def tell(event: str, **facts: Any) -> None:
    """Add an event to the record, if a build began one here."""
    if EVENTS.exists():
        with EVENTS.open("ab") as file:
            file.write(line(event, **facts))


def tell_step(concept: str, stage: str, step: int, steps: int) -> None:
    """Add how far a stage is, unless it said so a moment ago."""
    now = time.monotonic()
    if now - told.get(concept, -LATER) >= LATER or step == steps:
        told[concept] = now
        tell("step", concept=concept, stage=stage, step=step, steps=steps)


def line(event: str, **facts: Any) -> bytes:
    return (json.dumps({"at": datetime.now(UTC).isoformat(timespec="seconds"), "event": event, **facts}) + "\n").encode()


def last_build(path: Path = EVENTS) -> dict[str, Any]:
    """Return {running, begun, ended, concepts} of the build that is running or was the last one.

    begun, ended: times, or None. `ended` is None too for a build that was interrupted. concepts: concept -> {state, stage, step, steps, error},
    where the state is waiting, working, built or failed.
    """
    running = running_build() is not None
    with READING:
        build = read_on(path)
        concepts = {concept: dict(facts) for concept, facts in build["concepts"].items()}  # the next look changes what was read
        return {"running": running, "begun": build["begun"], "ended": build["ended"], "concepts": concepts}


def read_on(path: Path) -> dict[str, Any]:
    """Return the build that a record tells of, and read no line twice: a long build has 100,000 of them, and the app looks ten times a second."""
    with path.open("rb") if path.exists() else BytesIO() as file:
        start = file.readline()
        record = (path.stat().st_ino, start) if start else None
        if record != READ["record"] or file.seek(0, os.SEEK_END) < READ["offset"]:
            READ.update(record=record, offset=0, build={"begun": None, "ended": None, "concepts": {}})
        file.seek(READ["offset"])
        lines = file.read().splitlines(keepends=True)
    for text in lines:
        if text.endswith(b"\n"):  # the last one may be half written
            READ["offset"] += len(text)
            add(text, READ["build"])
    return READ["build"]


def add(text: bytes, build: dict[str, Any]) -> None:
    """Add a line of the record to what is known of the build."""
    try:
        event = json.loads(text)
    except ValueError:  # of a build that was killed
        return
    match event["event"]:
        case "begin":
            build |= {"begun": event["at"], "concepts": {concept: {"state": "waiting"} for concept in event["concepts"]}}
        case "end":
            build["ended"] = event["at"]
        case "stage" | "step":
            steps = {name: event[name] for name in ("stage", "step", "steps") if name in event}
            build["concepts"][event["concept"]] = {"state": "working", **steps}
        case "built":
            build["concepts"][event["concept"]] = {"state": "built"}
        case "failed":
            build["concepts"][event["concept"]] = {"state": "failed", "error": event["error"]}


READING = threading.Lock()
READ: dict[str, Any] = {"record": None, "offset": 0, "build": {"begun": None, "ended": None, "concepts": {}}}
"""What was read of the last build's record: which one it is, up to where, and the build so far."""
