"""From rankings to numbers, on raters whose tastes are known."""

import random

import numpy as np
import pytest

from tasks.people.aggregate import Bootstrap, Ranking, among_raters, mean_tau, preference, preferences, strengths, with_score

BOOTSTRAP = Bootstrap(300, 0.95, 0)
STRENGTHS = {"a": 8.0, "b": 4.0, "c": 2.0, "d": 1.0}


def draw(raters: int, items: int, seed: int = 0, strengths: dict[str, float] = STRENGTHS) -> list[Ranking]:
    """Rankings that the strengths give: the next place goes to a candidate in proportion to its strength (Plackett-Luce)."""
    generator, rankings = random.Random(seed), []
    for rater in range(raters):
        for item in range(items):
            left, order = dict(strengths), []
            while left:
                order.append(generator.choices(list(left), list(left.values()))[0])
                del left[order[-1]]
            rankings.append(Ranking(f"rater {rater}", f"item {item}", tuple(order)))
    return rankings


def test_bradley_terry_recovers_strengths_from_pairs() -> None:
    true = np.array([8.0, 4.0, 2.0, 1.0]) / 15
    chances = true[:, None] / (true[:, None] + true[None, :])
    np.fill_diagonal(chances, 0)
    assert strengths(1e6 * chances) == pytest.approx(true, rel=1e-3)
    batch = np.stack([1e6 * chances, 1e6 * chances.T])
    assert strengths(batch)[0] == pytest.approx(true, rel=1e-3) and np.argsort(strengths(batch)[1]).tolist() == [0, 1, 2, 3]


def test_a_preference_is_the_mean_chance_against_the_others() -> None:
    assert preference(np.array([0.5, 0.25, 0.25])) == pytest.approx([2 / 3, (1 / 3 + 1 / 2) / 2, (1 / 3 + 1 / 2) / 2])
    assert preference(np.array([0.75, 0.25])) == pytest.approx([0.75, 0.25])
    assert preference(np.random.default_rng(0).dirichlet(np.ones(5))).mean() == pytest.approx(0.5)


def test_rankings_give_the_order_of_the_strengths_with_the_truth_in_the_interval() -> None:
    found = preferences(draw(20, 10), BOOTSTRAP)
    assert sorted(found, key=lambda name: -found[name].value) == ["a", "b", "c", "d"]
    truth = dict(zip(STRENGTHS, preference(np.array(list(STRENGTHS.values()))), strict=True))
    assert all(score.low < truth[name] < score.high for name, score in found.items())


def test_names_and_the_order_of_raters_do_not_matter() -> None:
    rankings = draw(5, 4)
    renamed = [Ranking(one.rater, one.item, tuple(name.upper() for name in one.order)) for one in reversed(rankings)]
    found, again = preferences(rankings, BOOTSTRAP), preferences(renamed, BOOTSTRAP)
    assert [again[name.upper()] for name in found] == [pytest.approx(score) for score in found.values()]


def test_an_undecided_crowd_finds_all_equal() -> None:
    found = preferences(draw(30, 20, strengths=dict.fromkeys("abcd", 1.0)), BOOTSTRAP)
    assert all(score.low < 0.5 < score.high for score in found.values())


@pytest.mark.parametrize("seed", range(3))
def test_intervals_shrink_with_raters_and_items(seed: int) -> None:
    few, many = preferences(draw(4, 4, seed), BOOTSTRAP), preferences(draw(40, 30, seed), BOOTSTRAP)
    assert all(many[name].high - many[name].low < few[name].high - few[name].low for name in STRENGTHS)


def test_one_who_always_wins_stays_below_one_and_grows_with_evidence() -> None:
    once, often = ([Ranking("r", f"item {item}", ("a", "b")) for item in range(count)] for count in (1, 20))
    assert 0.5 < preferences(once, BOOTSTRAP)["a"].value < preferences(often, BOOTSTRAP)["a"].value < 1


def test_candidates_that_never_met_are_compared_through_a_third() -> None:
    met = [Ranking("r", f"item {item}", order) for item in range(20) for order in (("a", "b"), ("b", "c"))]
    found = preferences(met, BOOTSTRAP)
    assert found["a"].value > found["b"].value > found["c"].value


def test_two_raters_give_no_interval() -> None:
    two, three = (preferences(draw(raters, 4), BOOTSTRAP)["a"] for raters in (2, 3))
    assert np.isnan([two.low, two.high]).all() and three.low < three.high
    rankings = [Ranking("r", "item", ("a", "b"))]
    tau = mean_tau(with_score(rankings, {"a": 1, "b": 0}), BOOTSTRAP)
    assert tau and tau.value == 1 and np.isnan(tau.low)


def test_tau_of_a_score_is_one_for_its_own_order_and_minus_one_for_the_reverse() -> None:
    rankings = [Ranking(f"r{rater}", f"item {item}", ("a", "b", "c")) for rater in range(3) for item in range(2)]
    assert mean_tau(with_score(rankings, {"a": 3, "b": 2, "c": 1}), BOOTSTRAP) == (1, 1, 1)
    assert mean_tau(with_score(rankings, {"a": 1, "b": 2, "c": 3}), BOOTSTRAP) == (-1, -1, -1)
    assert mean_tau(with_score(rankings, {"a": 1, "c": 3}), BOOTSTRAP) == (-1, -1, -1)


def test_tau_of_a_score_that_does_not_tell_candidates_apart_is_not_counted() -> None:
    rankings = [Ranking("r", "item", ("a", "b", "c"))]
    assert with_score(rankings, {"a": 1, "b": 1, "c": 1}) == with_score(rankings, {"a": 1}) == []
    assert mean_tau([], BOOTSTRAP) is None


def test_raters_agree_as_far_as_their_taste_is_strong() -> None:
    weak, strong = (draw(6, 6, strengths={name: value**power for name, value in STRENGTHS.items()}) for power in (0.2, 3))
    taus = [mean_tau(among_raters(rankings), BOOTSTRAP) for rankings in (weak, strong)]
    assert taus[0] and taus[1] and taus[0].value < taus[1].low
    assert len(among_raters(strong)) == 6 * 15
