"""Every branch of the gate: two score records in, one decision out."""

import math
from dataclasses import replace
from typing import Any

import pytest

from tasks import artifacts
from tasks.registry.promotion import LAST, NO_JUDGE, SCORES, Score, ScoreRecord, decide, evidence, score_record, sentence
from tests.support.catalogs import ROOT

CHAMPION = ScoreRecord(
    version=1,
    reconstruction=Score(0.70, 0.65, 0.75),
    editability=Score(0.25, 0.22, 0.28),
    fidelity=Score(0.50, 0.45, 0.55),
    base_weights_sha256="b" * 64,
    scorer_model="clip",
    scorer_weights_sha256="c" * 64,
    fidelity_judge=f"eye @ {'a' * 64}",
    prompt_suite="p" * 64,
    sampling="DDIM, 50 steps, guidance 4, seeds 0-15",
    pictures_sha256="d" * 64,
    scored_on_sha256="d" * 64,
)


def challenger(reconstruction: float = 0.70, editability: float = 0.25, fidelity: float = 0.50, **changes: Any) -> ScoreRecord:
    """A version 2 that differs from the champion only in what is named; its own interval is so wide that it must not matter."""
    scores = {"reconstruction": Score(reconstruction, -1, 1), "editability": Score(editability, -1, 1), "fidelity": Score(fidelity, -1, 1)}
    return replace(CHAMPION, version=2, **{**scores, **changes})


@pytest.mark.parametrize(
    ("reconstruction", "editability", "fidelity", "verdict", "promoted"),
    [
        (0.76, 0.25, 0.50, "better", True),
        (0.70, 0.29, 0.50, "better", True),
        (0.70, 0.25, 0.56, "better", True),
        (0.76, 0.29, 0.56, "better", True),
        (0.65, 0.29, 0.45, "better", True),  # on the edge of the interval is inside it
        (0.70, 0.25, 0.50, "no_better", False),
        (0.75, 0.28, 0.55, "no_better", False),
        (0.66, 0.23, 0.46, "no_better", False),
        (0.64, 0.25, 0.50, "worse", False),
        (0.70, 0.21, 0.50, "worse", False),
        (0.70, 0.25, 0.44, "worse", False),
        (0.64, 0.21, 0.44, "worse", False),
        (0.99, 0.21, 0.50, "worse", False),  # one score does not buy another
        (0.64, 0.99, 0.50, "worse", False),
        (0.99, 0.99, 0.44, "worse", False),  # CLIP is pleased and the shape is lost
        (0.70, 0.21, 0.99, "worse", False),
        (math.nan, math.nan, math.nan, "no_better", False),
    ],
)
def test_scores_decide_between_versions_that_were_judged_alike(
    reconstruction: float, editability: float, fidelity: float, verdict: str, promoted: bool
) -> None:
    rival = challenger(reconstruction, editability, fidelity)
    decision = decide("fox", rival, CHAMPION)
    assert (decision.verdict, decision.promote, decision.against) == (verdict, promoted, 1)
    assert decision.numbers["reconstruction"] == pytest.approx(
        {"challenger": reconstruction, "champion": 0.70, "low": 0.65, "high": 0.75}, nan_ok=True
    )
    # A person's word does not overrule a comparison that could be made.
    assert decide("fox", rival, CHAMPION, accept="I like it") == decision or math.isnan(reconstruction)


def test_a_trained_word_that_wins_clip_by_losing_its_shape_is_worse() -> None:
    """The study's robot: words for each layer please CLIP more than Perfusion's edit, and the eye sees less of a robot."""
    cells = artifacts.read_json(ROOT / "docs/study/results.json")["cells"]
    edit, words = (
        {name: Score(cell[name], cell[f"{name}_low"], cell[f"{name}_high"]) for name in SCORES}
        for cell in (cells["robot-setup-perfusion-0"], cells["robot-setup-extended-0"])
    )
    champion, rival = replace(CHAMPION, **edit), replace(CHAMPION, version=2, **words)
    decision = decide("robot", rival, champion)
    assert decision.verdict == "worse" and decision.reason.startswith("v2 is worse than champion v1: fidelity")
    without = {"fidelity": None, "fidelity_judge": NO_JUDGE}
    assert decide("robot", replace(rival, **without), replace(champion, **without)).verdict == "better"


@pytest.mark.parametrize(("fidelity", "verdict"), [(0.44, "no_better"), (0.99, "no_better")])
def test_a_catalog_without_a_judge_of_fidelity_decides_by_two_scores(fidelity: float, verdict: str) -> None:
    without = {"fidelity": None, "fidelity_judge": NO_JUDGE}
    decision = decide("fox", challenger(**without), replace(CHAMPION, **without))
    assert (decision.verdict, set(decision.numbers)) == (verdict, {"reconstruction", "editability"})
    # One of the two was scored before the catalog had the judge.
    assert decide("fox", challenger(fidelity=fidelity), replace(CHAMPION, **without)).verdict == "rescore"
    assert decide("fox", challenger(**without), CHAMPION).verdict == "rescore"


@pytest.mark.parametrize("field", ["scorer_model", "scorer_weights_sha256", "fidelity_judge", "prompt_suite", "sampling", "scored_on_sha256"])
@pytest.mark.parametrize("value", ["another", ""])
def test_other_judges_never_compare(field: str, value: str) -> None:
    best = challenger(0.99, 0.99)
    for one, other in ((replace(best, **{field: value}), CHAMPION), (best, replace(CHAMPION, **{field: value}))):
        for accept in ("", "I like it"):
            decision = decide("fox", one, other, accept)
            assert (decision.verdict, decision.promote, decision.numbers) == ("rescore", False, {})
            assert "wordmint rescore fox" in decision.reason


def test_two_unknown_judges_are_not_the_same_judge() -> None:
    decision = decide("fox", challenger(0.99, 0.99, scorer_model=""), replace(CHAMPION, scorer_model=""))
    assert decision.verdict == "rescore"


def test_another_base_is_never_compared_and_a_person_may_accept_it() -> None:
    best = challenger(0.99, 0.99, base_weights_sha256="a" * 64)
    refused = decide("fox", best, CHAMPION)
    assert (refused.verdict, refused.promote, refused.numbers) == ("base_changed", False, {})
    assert "aaaaaaaaaaaa" in refused.reason and "bbbbbbbbbbbb" in refused.reason and "--accept" in refused.reason
    taken = decide("fox", replace(best, scorer_model="another"), CHAMPION, accept="we moved to the new base")
    assert (taken.verdict, taken.promote, taken.reason, taken.numbers) == ("accepted", True, "we moved to the new base", {})


def test_other_pictures_need_a_person() -> None:
    best = challenger(0.99, 0.99, pictures_sha256="e" * 64)
    refused = decide("fox", best, CHAMPION)
    assert (refused.verdict, refused.promote) == ("pictures_changed", False)
    assert set(refused.numbers) == set(SCORES)
    assert "--accept" in refused.reason and "wordmint diff fox 1 2" in refused.reason
    taken = decide("fox", challenger(0.1, 0.1, pictures_sha256="e" * 64), CHAMPION, accept="the fox has a new coat")
    assert (taken.verdict, taken.promote, taken.reason) == ("accepted", True, "the fox has a new coat")


def test_scores_against_other_pictures_are_not_shown_as_if_they_compared() -> None:
    decision = decide("fox", challenger(0.99, 0.99, pictures_sha256="e" * 64, scored_on_sha256="e" * 64), CHAMPION)
    assert (decision.verdict, decision.numbers) == ("pictures_changed", {})


def test_other_pictures_do_not_hide_another_judge() -> None:
    both = challenger(0.99, 0.99, pictures_sha256="e" * 64, scorer_model="another")
    assert decide("fox", both, CHAMPION, accept="new pictures").verdict == "rescore"


def test_the_first_version_has_nothing_to_beat() -> None:
    decision = decide("fox", challenger(), None)
    assert (decision.verdict, decision.promote, decision.against, decision.numbers) == ("first", True, None, {})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"reconstruction": Score(0.70, 0.65, 0.75, 0.64, 0.70)}, ""),  # as good as the coarse word is not below it
        ({"reconstruction": Score(0.70, 0.65, 0.75, 0.64, 0.71)}, "reconstruction 0.700 is below the coarse word's 0.710"),
        ({"reconstruction": Score(0.70, 0.65, 0.75, 0.65, None)}, "reconstruction 0.700 (from 0.650) is not clearly above the 0.650"),
        ({"reconstruction": Score(-0.19, -0.2, -0.18, 0.1, None)}, "reconstruction -0.190"),
        ({"fidelity": Score(0.3, 0.2, 0.4, 0.1, 0.35)}, "fidelity 0.300 is below the coarse word's 0.350"),
        ({"fidelity": Score(0.3, 0.1, 0.5, 0.1, None)}, "fidelity 0.300 (from 0.100)"),
        ({"editability": Score(0.1, 0.05, 0.15, 0.3, 0.3)}, ""),  # a word costs editability, also a good one
    ],
)
def test_a_first_version_has_a_floor(changes: dict[str, Score], said: str) -> None:
    version = replace(CHAMPION, **changes)
    decision = decide("fox", version, None)
    assert (decision.verdict, decision.promote) == (("below_floor", False) if said else ("first", True))
    assert decision.reason.startswith(said)
    assert bool(said) == ('wordmint promote fox --accept "REASON"' in decision.reason)
    accepted = decide("fox", version, None, accept="the best that we have")
    assert accepted.promote and accepted.verdict == ("accepted" if said else "first")


def test_evidence_reads_back() -> None:
    eye = {"model": "eye", "weights_sha256": "a" * 64}
    scores: dict[str, Any] = {
        "scorer": {"model": "clip", "weights_sha256": "c" * 64, "prompt_suite": "p" * 64, "fidelity": eye},
        "reconstruction": {"value": 0.7, "low": 0.65, "high": 0.75, "image_only": 0.9, "prompt_only": 0.5},
        "editability": {"value": 0.25, "low": 0.22, "high": 0.28, "image_only": 0.1, "prompt_only": 0.3, "coarse_word": 0.29},
        "fidelity": {"value": 0.5, "low": 0.45, "high": 0.55, "image_only": 0.9, "prompt_only": 0.2, "coarse_word": None, "edited": 0.4},
    }
    samples = {"base": {"weights_sha256": "b" * 64}, "num_inference_steps": 50, "guidance_scale": 4.0, "seeds": list(range(16))}
    tags = evidence(scores, samples, "d" * 64, "d" * 64)
    scored = {
        "reconstruction": Score(0.70, 0.65, 0.75, 0.5, None),
        "editability": Score(0.25, 0.22, 0.28, 0.3, 0.29),
        "fidelity": Score(0.50, 0.45, 0.55, 0.2, None),
    }
    assert score_record(1, tags) == replace(CHAMPION, **scored)
    assert list(tags)[-1] == LAST
    # The tags of a scoring without the judge of fidelity replace those of one with it.
    scores |= {"fidelity": None, "scorer": scores["scorer"] | {"fidelity": None}}
    without = score_record(1, tags | evidence(scores, samples, "d" * 64, "d" * 64))
    assert (without.fidelity, without.fidelity_judge) == (None, NO_JUDGE)


def test_a_version_from_before_the_gate_is_to_be_scored_again() -> None:
    old = {"reconstruction": "0.7", "editability": "0.25", "base_weights_sha256": "b" * 64, "scorer_weights_sha256": "c" * 64}
    assert decide("fox", challenger(0.99, 0.99), score_record(1, old)).verdict == "rescore"


@pytest.mark.parametrize(("challenger", "side"), [(0.69, "below"), (0.7, "inside"), (0.8, "inside"), (0.81, "above")])
def test_the_ends_of_an_interval_are_inside(challenger: float, side: str) -> None:
    said = sentence("reconstruction", {"challenger": challenger, "champion": 0.75, "low": 0.7, "high": 0.8})
    assert said == f"reconstruction {challenger:.3f} is {side} the champion's 0.700 to 0.800"
