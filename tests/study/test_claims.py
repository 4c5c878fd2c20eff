"""What the claims are decided from."""

import pytest

from tasks.study.claims import decide
from tasks.study.comparisons import Comparison, Result, Study, compare, interval

CONCEPTS, SEEDS = ("fox", "robot", "teapot"), (0, 1)
WORD = {
    "plain": (0.75, 0.60),
    "two-vectors": (0.76, 0.58),
    "three-vectors": (0.77, 0.55),
    "high-lr": (0.80, 0.50),
    "low-lr": (0.60, 0.70),
    "pivotal": (0.8, 0.59),
}
REFERENCES = {"image_only": (0.82, 0.40), "prompt_only": (0.40, 0.80), "human_short": (0.55, 0.58), "human_long": (0.57, 0.45)}


def results(**changed: tuple[float, float]) -> list[Result]:
    """A study in which all that is measured is as in the paper; concepts and seeds differ a little."""
    setups = WORD | {"regularised": (0.65, 0.68)} | {name: scores for name, scores in changed.items() if name not in (*REFERENCES, "guided-pivotal")}
    references = REFERENCES | {name: scores for name, scores in changed.items() if name in REFERENCES}
    found = []
    for number, concept in enumerate(CONCEPTS):
        for seed in SEEDS:
            guided = {"plain": (0.75, 0.58), "pivotal": changed.get("guided-pivotal", (0.8, 0.45))}
            for kind, names in (("setup", setups), ("guided", guided), ("size", {"5": (0.7, 0.6), "25": (0.75, 0.5)})):
                for setup, (faithful, editable) in names.items():
                    shift = 0.01 * number + 0.002 * seed
                    scores = {
                        name: {"value": word + shift, **{key: pair[index] + 0.01 * number for key, pair in references.items()}}
                        for index, (name, word) in enumerate((("reconstruction", faithful), ("editability", editable)))
                    }
                    likeness = {"5": 0.6, "25": 0.4}.get(setup, 0.5) + 0.001 * number
                    found.append(Result(kind, setup, concept, seed, scores, {}, likeness))
    return found


def verdicts(found: list[Result]) -> dict[str, str]:
    return {claim.letter: claim.verdict for claim in decide(Study(found))}


def test_a_study_like_the_paper_confirms_what_it_measured() -> None:
    assert verdicts(results()) == dict.fromkeys("abcdefgh", "holds")


@pytest.mark.parametrize(
    ("letter", "setup", "scores"),
    [
        ("a", "plain", (0.60, 0.60)),  # far from the pictures
        ("b", "two-vectors", (0.76, 0.65)),  # more editable than one word
        ("c", "high-lr", (0.70, 0.50)),  # less faithful than the usual rate
        ("d", "regularised", (0.80, 0.68)),  # more faithful than without
        ("e", "human_long", (0.57, 0.59)),  # more editable than the short caption
        ("e", "human_short", (0.79, 0.58)),  # more faithful than the word
        ("f", "low-lr", (0.60, 0.90)),  # beyond Prompt-Only
        ("h", "guided-pivotal", (0.80, 0.59)),  # guidance costs it nothing
    ],
)
def test_one_number_the_other_way_refutes_a_claim(letter: str, setup: str, scores: tuple[float, float]) -> None:
    assert verdicts(results(**{setup: scores}))[letter] == "does not hold"


def test_more_pictures_that_cost_nothing_refute_the_drift() -> None:
    found = [Result(*vars(r).values()) if r.setup != "25" else Result(r.kind, "25", r.concept, r.seed, r.scores, {}, 0.9) for r in results()]
    assert verdicts(found)["g"] == "does not hold"


def test_a_wide_interval_does_not_hide_what_refutes_a_claim() -> None:
    found = results(**{"low-lr": (0.60, 0.85)})  # beyond Prompt-Only
    for r in [r for r in found if r.setup == "regularised"]:
        wild = r.scores["editability"] | {"value": (-0.9, 0.9)[r.seed]}
        found.append(Result("setup", "progressive", r.concept, r.seed, r.scores | {"editability": wild}, {}, 0.5))
    assert verdicts(found)["f"] == "does not hold"


def test_what_was_not_measured_is_not_decided() -> None:
    found = verdicts([result for result in results() if result.setup == "plain"])
    assert found["d"] == found["g"] == "not measured"


def test_one_cell_alone_decides_nothing() -> None:
    found = verdicts([result for result in results() if (result.concept, result.seed) == ("fox", 0)])
    assert set(found.values()) == {"undecided"}


def test_cells_are_compared_with_those_of_the_same_concept_and_seed() -> None:
    found = results()
    (slack, _) = next(claim for claim in decide(Study(found)) if claim.letter == "b").comparisons
    assert slack.mean == pytest.approx(0.02)
    assert slack.low == pytest.approx(slack.high)  # the concepts differ, the differences do not


def test_the_interval_is_students_over_the_concepts() -> None:
    mean, low, high = interval([1.0, 2.0, 3.0])
    assert mean == 2
    assert high - 2 == pytest.approx(4.30265 / 3**0.5, rel=1e-4)  # t of two degrees of freedom, standard deviation 1
    assert low == pytest.approx(4 - high)


def test_seeds_of_one_concept_count_once() -> None:
    twice = compare("", [("fox", 0.0), ("fox", 2.0), ("robot", 3.0), ("robot", 3.0)])
    assert twice == compare("", [("fox", 1.0), ("robot", 3.0)])


def test_an_undecided_comparison_says_how_many_concepts_would_decide() -> None:
    """Mean 1 and standard deviation 2: t(17) x 2 / sqrt(18) is 0.995, and t(16) x 2 / sqrt(17) is 1.028."""
    (comparison,) = compare("", [("fox", -1.0), ("robot", 1.0), ("teapot", 3.0)])
    assert comparison.verdict == "undecided"
    assert comparison.needed == 18


def test_few_more_concepts_show_that_a_difference_does_not_count() -> None:
    """Mean -0.01 and standard deviation 0.02: t(6) x 0.02 / sqrt(7) is 0.0185, below the 0.02 to what counts; t(5) x 0.02 / sqrt(6) is 0.0210."""
    (comparison,) = compare("", [("fox", -0.03), ("robot", -0.01), ("teapot", 0.01)])
    assert (comparison.verdict, comparison.needed) == ("undecided", 7)


def test_concepts_that_agree_with_the_bound_exactly_are_never_decided_by_more() -> None:
    (comparison,) = compare("", [("fox", 0.8), ("robot", 1.0)], at_least=0.9)
    assert comparison.needed is None


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.0, 1.0, "holds"), (-1.0, 1.0, "undecided"), (-1.0, 0.011, "undecided"), (0.001, 0.009, "does not hold")]
)
def test_an_interval_decides(low: float, high: float, verdict: str) -> None:
    assert Comparison("", 0.0, low, high, at_least=0.0, agree="", spread=1.0).verdict == verdict


@pytest.mark.parametrize(("at_least", "verdict"), [(0.9, "does not hold"), (0.89, "undecided"), (-0.01, "holds")])
def test_a_bound_with_a_tolerance_has_no_further_one(at_least: float, verdict: str) -> None:
    assert Comparison("", 0.0, 0.88, 0.8999, at_least=at_least, agree="", spread=1.0).verdict == verdict


def test_later_methods_are_no_part_of_the_papers_claims() -> None:
    assert verdicts(results(lora=(0.95, 0.95)))["f"] == "holds"
