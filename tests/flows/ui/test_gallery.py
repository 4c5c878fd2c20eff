"""What the gallery says of each concept."""

import pytest

from flows import watching
from flows.ui import builds, gallery
from tasks import artifacts
from tasks.pipeline.device import catalog_turn
from tasks.settings import Settings


@pytest.mark.parametrize(
    ("score", "places"),
    [
        ({"value": 0.6, "low": 0.5, "high": 0.7, "prompt_only": 0.2, "image_only": 1.0}, (50.0, 37.5, 62.5)),
        ({"value": 0.6, "low": 0.5, "high": 0.7, "prompt_only": 1.0, "image_only": 0.2}, (50.0, 37.5, 62.5)),  # editability's bounds
        ({"value": 1.2, "low": 0.1, "high": 1.4, "prompt_only": 0.2, "image_only": 1.0}, (100.0, 0.0, 100.0)),
        ({"value": 0.2, "low": 0.2, "high": 0.2, "prompt_only": 0.2, "image_only": 0.2}, (0.0, 0.0, 0.0)),
    ],
)
def test_a_score_stands_between_its_bounds(score: dict[str, float], places: tuple[float, float, float]) -> None:
    placed = gallery.placed(score)
    assert (placed["at"], placed["from"], placed["to"]) == places


def test_a_concept_is_in_one_state(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Revoked counts more than stale, and a failure counts until the concept is up to date again."""
    stale: dict[str, dict[str, list[str]]] = {
        "fox": {"curate": ["never built"]},
        "teapot": {"invert": ["params.yaml:invert modified"]},
        "robot": {"score": ["data/samples/robot modified"]},
        "owl": {"curate": ["never built"]},
    }
    monkeypatch.setattr(builds, "stale", lambda settings: stale)
    artifacts.write_json(artifacts.registered("owl"), {"aliases": [], "version": 1, "revoked": "a licence"})
    artifacts.write_json(artifacts.registered("inkline"), {"aliases": ["challenger"], "version": 1, "held_back": "too low"})
    watching.begin(["teapot", "robot"])
    watching.tell("failed", concept="robot", error="no disk")
    watching.tell("stage", concept="teapot", stage="invert")
    found = gallery.states(settings)
    assert {key: found[key]["state"] for key in settings.concepts} == {
        "fox": "new",
        "teapot": "stale",
        "robot": "failed",
        "owl": "revoked",
        "inkline": "held back",
    }
    assert found["teapot"]["why"] == "invert: params.yaml:invert modified" and found["robot"]["why"] == "no disk"
    with catalog_turn():
        assert gallery.states(settings)["teapot"] == {"state": "building", "why": "invert"}
    stale.clear()
    assert gallery.states(settings)["robot"] == {"state": "up to date", "why": ""}
