"""From people's rankings to numbers: Bradley-Terry strengths, Kendall's tau, and bootstrap intervals over raters and items."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from tasks.similarity.scores import Interval

Numbers = NDArray[np.float64]
FEWEST = 3  # raters that an interval needs: fewer tell nothing about others, and all samples of them may even be the same
DRAWN = 0.5  # wins that each of two candidates has over the other before anybody answers, so that a strength stays finite


class Bootstrap(NamedTuple):
    """How an interval is drawn; the section `score` of params.yaml has these numbers."""

    samples: int
    confidence: float
    seed: int


class Ranking(NamedTuple):
    """One rater's order of one item's candidates."""

    rater: str
    item: str
    order: tuple[str, ...]
    """The candidates' names, the best first."""


class Agreement(NamedTuple):
    """Kendall's tau of one ranking with a score, or of two raters' rankings of one item."""

    raters: tuple[str, ...]
    item: str
    tau: float


def preferences(rankings: Sequence[Ranking], bootstrap: Bootstrap) -> dict[str, Interval]:
    """Return, for each candidate, the probability that a rater prefers it to another candidate of the set, by the Bradley-Terry model.

    0.5 is as good as the average candidate, 1 always the best. A ranking counts as the comparisons of all its pairs. The interval is the
    percentile bootstrap over raters and items.
    """
    names = sorted({name for ranking in rankings for name in ranking.order})
    if not names:
        return {}
    weights = resampled([((ranking.rater,), ranking.item) for ranking in rankings], bootstrap)
    wins = np.stack([wins_of(ranking, names) for ranking in rankings])
    values = preference(strengths(np.tensordot(weights, wins, axes=1)))
    raters = len({ranking.rater for ranking in rankings})
    return {name: interval(values[:, index], raters, bootstrap.confidence) for index, name in enumerate(names)}


def wins_of(ranking: Ranking, names: Sequence[str]) -> Numbers:
    """Return 1 where the row's candidate is ranked before the column's: (names, names)."""
    wins = np.zeros((len(names), len(names)))
    for better, worse in combinations(ranking.order, 2):
        wins[names.index(better), names.index(worse)] = 1
    return wins


def strengths(wins: Numbers, tolerance: float = 1e-8, most: int = 10_000) -> Numbers:
    """Return the Bradley-Terry strengths that sum to 1, by Hunter's MM algorithm (2004, eq. 3). wins: (..., k, k) -> (..., k)."""
    k = wins.shape[-1]
    wins = wins + DRAWN * (1 - np.eye(k))
    met, won = wins + np.swapaxes(wins, -1, -2), wins.sum(axis=-1)
    strength = np.full(won.shape, 1 / k)
    for _ in range(most):
        before = strength
        strength = won / (met / (strength[..., :, None] + strength[..., None, :])).sum(axis=-1)
        strength = strength / strength.sum(axis=-1, keepdims=True)
        if np.abs(strength - before).max() < tolerance:
            break
    return strength


def preference(strength: Numbers) -> Numbers:
    """Return each candidate's mean probability of winning against each of the others: (..., k) -> (..., k), k >= 2."""
    k = strength.shape[-1]
    wins = strength[..., :, None] / (strength[..., :, None] + strength[..., None, :])
    return (wins.sum(axis=-1) - 0.5) / (k - 1)  # a candidate's probability against itself is 0.5


def with_score(rankings: Sequence[Ranking], scores: Mapping[str, float]) -> list[Agreement]:
    """Return how each ranking agrees with a score, where two or more of its candidates have one and they are not all equal."""
    found = []
    for ranking in rankings:
        values = [scores[name] for name in ranking.order if name in scores]
        if len(set(values)) > 1:
            found.append(Agreement((ranking.rater,), ranking.item, tau(range(len(values), 0, -1), values)))
    return found


def among_raters(rankings: Sequence[Ranking]) -> list[Agreement]:
    """Return how the raters of an item agree, pair by pair, with which the agreement of a score can be compared."""
    by_item: dict[str, list[Ranking]] = {}
    for ranking in rankings:
        by_item.setdefault(ranking.item, []).append(ranking)
    return [
        Agreement((one.rater, other.rater), item, tau(range(len(one.order)), [other.order.index(name) for name in one.order]))
        for item, group in sorted(by_item.items())
        for one, other in combinations(group, 2)
    ]


def tau(one: Sequence[float], other: Sequence[float]) -> float:
    return float(kendalltau(one, other).statistic)


def mean_tau(agreements: Sequence[Agreement], bootstrap: Bootstrap) -> Interval | None:
    """Return the mean tau with its bootstrap interval over raters and items, or None where there is nothing to average."""
    if not agreements:
        return None
    weights = resampled([(agreement.raters, agreement.item) for agreement in agreements], bootstrap)
    total = weights.sum(axis=1)
    values = weights @ np.array([agreement.tau for agreement in agreements])
    raters = len({rater for agreement in agreements for rater in agreement.raters})
    return interval(np.divide(values, total, out=np.full_like(total, np.nan), where=total > 0), raters, bootstrap.confidence)


def resampled(observations: Sequence[tuple[tuple[str, ...], str]], bootstrap: Bootstrap) -> Numbers:
    """Return how often each observation, (its raters, its item), is in each bootstrap sample: (1 + bootstrap.samples, observations).

    Raters and items are resampled independently (the pigeonhole bootstrap, Owen 2007), since both are a choice among many. The first row is
    the data itself.
    """
    generator = np.random.default_rng(bootstrap.seed)
    raters = sorted({rater for group, _ in observations for rater in group})
    items = sorted({item for _, item in observations})
    rater_counts, item_counts = (
        np.concatenate([np.ones((1, len(kind))), generator.multinomial(len(kind), np.full(len(kind), 1 / len(kind)), size=bootstrap.samples)])
        for kind in (raters, items)
    )
    weights = item_counts[:, [items.index(item) for _, item in observations]]
    for place in range(max(len(group) for group, _ in observations)):
        weights = weights * rater_counts[:, [raters.index(group[place]) for group, _ in observations]]
    return weights


def interval(values: Numbers, raters: int, confidence: float) -> Interval:
    """Return the first value with the percentiles of all; the ends are NaN where there are fewer than FEWEST raters.

    values: (1 + bootstrap.samples,); samples without any observation are NaN and do not count.
    """
    low, high = np.nanquantile(values, [(1 - confidence) / 2, (1 + confidence) / 2]) if raters >= FEWEST else (np.nan, np.nan)
    return Interval(float(values[0]), float(low), float(high))
