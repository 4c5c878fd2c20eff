"""What a build prints at its end."""

from pathlib import Path

import pytest

from flows.cli.built import FEW, print_build
from tasks import artifacts


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def built(count: int) -> list[str]:
    """Leave the scores and records of built concepts and return their keys."""
    concepts = [f"c{number}" for number in range(count)]
    for concept in concepts:
        artifacts.write_json(artifacts.scores(concept), {"reconstruction": {"value": 0.8, "prompt_only": 0.2, "image_only": 0.9}})
        artifacts.write_json(artifacts.registered(concept), {"version": 1, "aliases": ["champion"]})
    return concepts


def test_a_small_catalog_is_shown_as_a_whole(capsys: pytest.CaptureFixture[str]) -> None:
    print_build(built(3), {}, {}, ())
    said = capsys.readouterr().out
    assert "nothing to do: every concept is up to date\n" in said
    assert all(f"c{number} " in said for number in range(3)) and said.count("0.800 .20-.90") == 3


def test_of_a_large_one_only_what_the_build_was_about(capsys: pytest.CaptureFixture[str]) -> None:
    concepts = built(FEW + 1)
    print_build(concepts, {"c3": 5.0, "c7": 1.0}, {}, {"c7"})
    said = capsys.readouterr().out
    assert said.count("v1 champion") == 1 and "failed" in said and "c4" not in said
    assert f"the other {FEW - 1} concepts are as they were; `wordmint list` shows all" in said
    print_build(concepts, {}, {}, ())
    assert capsys.readouterr().out == f"nothing to do: every concept is up to date; `wordmint list` shows all {FEW + 1}\n"
