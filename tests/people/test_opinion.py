"""What people's answers say, on the page of the command and on the versions in MLflow."""

import json
from pathlib import Path
from typing import Any

import mlflow
import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from tasks import artifacts
from tasks.people.answers import keep
from tasks.people.opinion import opinion
from tasks.people.questionnaire import Written, write_questionnaire
from tasks.registry import lifecycle, reading, writing
from tasks.settings import Settings
from tests.support.people import TASTE, answer

pytestmark = pytest.mark.slow
CARELESS = TASTE[::-1]
OTHER_WAY = ("right", "v1", "v2", "coarse word: teddy", "Prompt-Only", "wrong")


@pytest.fixture
def written(asked: Settings) -> Written:
    return write_questionnaire([], asked, 2, 2, 0, None)


@pytest.fixture
def record(written: Written) -> dict[str, Any]:
    return artifacts.read_json(written.record)


def told(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["answers", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


def facts(*arguments: str | Path) -> dict[str, Any]:
    return json.loads(told(*arguments, "--json"))


def metrics(number: int) -> dict[str, float]:
    model = mlflow.get_logged_model(reading.model_id(mlflow.MlflowClient().get_model_version("concept.fox", str(number))))
    assert model.tags["raters"] == reading.tags("fox", number)["raters"]
    return {metric.key: metric.value for metric in model.metrics or [] if metric.key.startswith("human_")}


def test_the_numbers_are_on_the_versions_that_raters_saw(record: dict[str, Any]) -> None:
    files = [answer(record, code) for code in ("a", "b", "c")] + [answer(record, "d", OTHER_WAY)]
    found = facts(*files)["concepts"]["fox"]
    assert found["raters"] == 4
    assert set(found["candidates"]) == {"v1", "v2", "coarse word: teddy", "Prompt-Only"}
    for number in (1, 2):
        tags, scores = reading.tags("fox", number), found["candidates"][f"v{number}"]
        assert tags["raters"] == "4"
        for name, score in scores.items():
            assert (float(tags[name]), metrics(number)[name]) == (score["value"], score["value"])
            assert metrics(number)[f"{name}_low"] == score["low"] <= score["value"] <= score["high"] == metrics(number)[f"{name}_high"]
    fidelity = {name: scores["human_fidelity"]["value"] for name, scores in found["candidates"].items()}
    assert fidelity["v2"] > fidelity["v1"] > fidelity["coarse word: teddy"] > fidelity["Prompt-Only"]
    assert sum(fidelity.values()) == pytest.approx(2, abs=1e-4)


def test_a_version_counts_the_raters_who_saw_it(record: dict[str, Any], asked: Settings) -> None:
    writing.drop_alias(reading.entry("fox"), "champion")  # v1 is in the first questionnaire only
    later = artifacts.read_json(write_questionnaire([], asked, 2, 0, 0, None).record)
    assert "v1" not in later["candidates"]["fox"]
    found = facts(answer(record, "a"), answer(later, "b"), answer(later, "c"))["concepts"]["fox"]
    assert [reading.tags("fox", number)["raters"] for number in (1, 2)] == ["1", "3"]
    assert found["raters"] == 3 and set(found["candidates"]) == {"v1", "v2", "coarse word: teddy", "Prompt-Only"}


def test_the_ends_of_an_interval_go_with_the_raters(record: dict[str, Any]) -> None:
    two, careless = [answer(record, "a"), answer(record, "b")], answer(record, "c", CARELESS)
    facts(*two, careless, "--max-failed", "1")
    assert "human_fidelity_low" in reading.tags("fox", 1)
    score = facts()["concepts"]["fox"]["candidates"]["v1"]["human_fidelity"]
    assert (score["low"], score["high"]) == (None, None)
    assert not {"human_fidelity_low", "human_fidelity_high"} & reading.tags("fox", 1).keys()


def test_the_same_file_twice_changes_nothing(record: dict[str, Any]) -> None:
    path = answer(record, "a")
    first = facts(path)
    events, tracked = reading.events("fox"), artifacts.pointer(artifacts.answers("fox")).read_bytes()
    assert [event["version"] for event in events if event["event"] == "answers"] == [1, 2]
    assert facts(path) == first | {"new": 0} == facts()
    assert (reading.events("fox"), artifacts.pointer(artifacts.answers("fox")).read_bytes()) == (events, tracked)


def test_a_careless_rater_is_dropped_and_named(record: dict[str, Any]) -> None:
    careful = facts(answer(record, "a"), answer(record, "b"))
    both = facts(answer(record, "careless", CARELESS))
    assert both["dropped"] == [{"code": "careless", "questionnaire": record["id"], "failed": 4, "checks": 4}]
    assert both["concepts"] == careful["concepts"]
    assert "rater careless does not count: 4 of 4 attention checks failed" in told()
    assert facts("--max-failed", "1")["concepts"]["fox"]["raters"] == 3


def test_answers_that_do_not_count_are_no_opinion(record: dict[str, Any]) -> None:
    found = facts(answer(record, "careless", CARELESS))
    assert found["concepts"] == {} and len(found["dropped"]) == 1
    assert "raters" not in reading.tags("fox", 1)
    assert "does not count" in told()


def test_the_scores_are_compared_with_people(record: dict[str, Any]) -> None:
    """Reconstruction has v2 > v1 > coarse word > Prompt-Only, as TASTE has; editability has them nearly the other way round."""
    agreement = facts(*(answer(record, code) for code in "abc"))["agreement"]
    assert agreement["human_fidelity"] == {
        "reconstruction": {"value": 1, "low": 1, "high": 1},
        "fidelity": None,
        "raters": {"value": 1, "low": 1, "high": 1},
    }
    assert agreement["human_editability"]["editability"]["value"] < 0
    output = told()
    assert "human_fidelity, of reconstruction with raters: 1.000 [1.000, 1.000]" in output
    assert "human_editability, between raters: 1.000" in output


def test_a_score_of_another_scorer_is_not_compared(record: dict[str, Any]) -> None:
    scores = artifacts.read_json(artifacts.scores("fox"))
    scores["scorer"]["weights_sha256"] = "e" * 64
    scores["fidelity"] = {"value": 0.5, "coarse_word": 0.2, "prompt_only": 0.3}
    artifacts.write_json(artifacts.scores("fox"), scores)
    agreement = facts(answer(record, "a"))["agreement"]["human_fidelity"]
    assert agreement["reconstruction"]["value"] == 1, "coarse word and Prompt-Only remain"
    assert agreement["fidelity"]["value"] == -1
    artifacts.scores("fox").unlink()
    assert facts()["agreement"]["human_fidelity"]["reconstruction"] is None


def test_another_registry_is_an_error(record: dict[str, Any], asked: Settings) -> None:
    mlflow.MlflowClient().set_model_version_tag("concept.fox", "1", "digest", "f" * 64)
    keep([answer(record, "a")])
    with pytest.raises(ValueError, match=r"fox v1 has digest f+, but raters saw .*; the questionnaire was made with another MLflow"):
        opinion(["fox"], asked, 0.25)
    assert "raters" not in reading.tags("fox", 2)


def test_history_shows_what_people_said(record: dict[str, Any]) -> None:
    facts(answer(record, "a"))
    event = next(line for line in lifecycle.history("fox")["events"] if line["event"] == "answers")
    assert "human_fidelity 0." in event["reason"] and event["reason"].endswith(", 1 rater")


def test_the_command_says_what_to_do_next(asked: Settings) -> None:
    result = CliRunner().invoke(app, ["questionnaire", "fox", "--items", "1", "--checks", "0", "--out", "page.html"])
    assert result.exit_code == 0 and "2 items" in result.output and Path("page.html").exists()
    assert "commit data/questionnaires/" in result.output
    told(code=1)
