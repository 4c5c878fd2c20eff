"""What a build leaves for whoever watches it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows import watching, workers
from flows.outcome import Outcome
from tasks.pipeline.device import catalog_turn


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_before_the_first_build_there_is_nothing() -> None:
    watching.begin([])
    watching.tell("end")
    build = watching.last_build()
    assert (build["running"], build["begun"], build["concepts"]) == (False, None, {})


def test_a_watcher_sees_each_concept_where_it_is() -> None:
    with catalog_turn():
        watching.begin(["fox", "owl", "ink"])
        watching.tell("stage", concept="fox", stage="invert")
        for step in range(1, 101):
            watching.tell_step("fox", "invert", step, 100)
        watching.tell("failed", concept="ink", error="too few pictures")
        build = watching.last_build()
    assert build["running"] and build["begun"] and build["ended"] is None
    assert build["concepts"] == {
        "fox": {"state": "working", "stage": "invert", "step": 100, "steps": 100},
        "owl": {"state": "waiting"},
        "ink": {"state": "failed", "error": "too few pictures"},
    }
    assert len(watching.EVENTS.read_bytes().splitlines()) < 20, "steps that follow one another at once are told once"
    watching.tell("built", concept="fox")
    watching.tell("end")
    assert watching.last_build()["ended"] and watching.last_build()["concepts"]["fox"] == {"state": "built"}


def test_a_build_that_was_killed_is_not_running_and_has_no_end() -> None:
    watching.begin(["fox"])
    with watching.EVENTS.open("ab") as file:
        file.write(b'{"at": "2026')  # half a line
    build = watching.last_build()
    assert (build["running"], build["ended"], build["concepts"]) == (False, None, {"fox": {"state": "waiting"}})


def test_a_build_with_nothing_to_do_leaves_the_last_record() -> None:
    watching.begin(["fox"])
    watching.tell("end")
    watching.begin([])
    assert watching.last_build()["concepts"] == {"fox": {"state": "waiting"}}


def test_no_line_is_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []
    monkeypatch.setattr(watching, "json", SimpleNamespace(dumps=json.dumps, loads=lambda text: (read.append(text), json.loads(text))[1]))
    watching.begin(["fox", "owl"])
    for step in range(100):
        watching.tell("step", concept="fox", stage="invert", step=step, steps=100)
    watching.last_build()["concepts"]["fox"]["state"] = "changed by who asked"
    with watching.EVENTS.open("ab") as file:
        file.write(b'{"at": "2026", "event": "bu')
    assert watching.last_build()["concepts"]["fox"] == {"state": "working", "stage": "invert", "step": 99, "steps": 100}
    with watching.EVENTS.open("ab") as file:
        file.write(b'ilt", "concept": "fox"}\n')
    assert watching.last_build()["concepts"]["fox"] == {"state": "built"} and len(read) == 102
    watching.begin(["fox"])
    assert watching.last_build()["concepts"] == {"fox": {"state": "waiting"}}
    watching.EVENTS.unlink()
    assert watching.last_build()["begun"] is None


def test_what_workers_build_elsewhere_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def built(concepts: list[str], runtime: object) -> Iterator[tuple[list[str], list[dict[str, Any]]]]:
        yield ["fox", "owl"], [{"concept": "fox", "ran": "invert", "restored": ""}, *workers.failed_rows(["owl"], "too few pictures")]

    @contextmanager
    def open_repo() -> Iterator[None]:
        yield

    monkeypatch.setattr(workers, "built", built)
    monkeypatch.setattr(workers, "repository", SimpleNamespace(open_repo=open_repo))
    monkeypatch.setattr(workers, "take_over", lambda repo, concepts, settings, outcome: None)
    watching.begin(["fox", "owl"])
    workers.build_elsewhere(["fox", "owl"], SimpleNamespace(runtime=None), Outcome())  # type: ignore[arg-type]
    assert watching.last_build()["concepts"] == {"fox": {"state": "built"}, "owl": {"state": "failed", "error": "too few pictures"}}
