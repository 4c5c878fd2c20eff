"""What a build leaves for whoever watches it."""

from pathlib import Path

import pytest

from flows import watching
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
