"""Paired comparisons of a study's results, with the interval and the verdict of each."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev
from typing import Any, Literal, NamedTuple

from scipy.stats import t as student

from tasks.registry.promotion import measured

Verdict = Literal["holds", "does not hold", "undecided", "not measured"]
AGAINST = ("does not hold", "undecided", "holds")
CONFIDENCE = 0.95
AS_WELL = 0.9  # "about as well as": at least this share
AS_EDITABLE = 0.01  # "at least as editable as": no more than this cosine below


@dataclass(frozen=True)
class Result:
    """The result of a cell."""

    kind: str
    setup: str
    concept: str
    seed: int
    scores: dict[str, Any]
    """The content of its score file."""
    train: dict[str, Any]
    """The content of its train.json."""
    word_likeness: float
    """Cosine of the learned vectors' mean with the nearest word of the vocabulary."""

    def numbers(self) -> dict[str, float]:
        """Return the numbers that the study shows of the cell, in one flat dict."""
        scores = {f"{score}_{name}": number for score in measured(self.scores) for name, number in self.scores[score].items() if number is not None}
        trained = {name: float(self.train[name]) for name in ("norm", "vocabulary_norm_median", "optimizer_steps", "seconds")}
        return (
            {name.removesuffix("_value"): round(number, 5) for name, number in scores.items()}
            | trained
            | {"word_likeness": round(self.word_likeness, 5)}
        )


class Comparison(NamedTuple):
    """A mean over cells with its interval, and the bound `at_least` that a claim sets for it."""

    what: str
    mean: float
    low: float
    high: float
    at_least: float
    agree: str
    """How many of the concepts reach `at_least` by themselves, such as `2 of 3`."""

    @property
    def verdict(self) -> Verdict:
        if self.low >= self.at_least:
            return "holds"
        return "does not hold" if self.high < self.at_least else "undecided"


class Claim(NamedTuple):
    letter: str
    text: str
    comparisons: list[Comparison]

    @property
    def verdict(self) -> Verdict:
        """A claim holds when all its comparisons hold, and does not hold when one of them does not."""
        verdicts = {comparison.verdict for comparison in self.comparisons}
        if not verdicts:
            return "not measured"
        if "does not hold" in verdicts:
            return "does not hold"
        return "undecided" if "undecided" in verdicts else "holds"


def by_concept(values: Iterable[tuple[str, float]]) -> list[list[float]]:
    """Return the values of each concept, one for each training seed."""
    groups: dict[str, list[float]] = {}
    for concept, number in values:
        groups.setdefault(concept, []).append(number)
    return list(groups.values())


def interval(values: Iterable[tuple[str, float]]) -> tuple[float, float, float]:
    """Return the mean over the concepts and both ends of Student's t interval, from values with the name of their concept.

    With several seeds for a concept, the interval says how far other seeds would move the mean of the same concepts (one-way layout, pooled
    variance): differences between easy and hard concepts do not widen it, and it says nothing about other concepts. With one value for each
    concept, the interval is over concepts like these. A single value has an infinite interval.
    """
    groups = by_concept(values)
    means = [fmean(group) for group in groups]
    freedom = sum(len(group) - 1 for group in groups)
    if freedom:
        within = sum((number - fmean(group)) ** 2 for group in groups for number in group) / freedom
        error = sqrt(within * sum(1 / len(group) for group in groups)) / len(groups)
    elif freedom := len(means) - 1:
        error = stdev(means) / sqrt(len(means))
    else:
        return means[0], float("-inf"), float("inf")
    half = float(student.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    return fmean(means), fmean(means) - half, fmean(means) + half


def compare(what: str, values: Iterable[tuple[str, float]], at_least: float = 0.0) -> list[Comparison]:
    """Compare paired values, each with the name of its concept; return one comparison, or none when nothing was measured."""
    values = list(values)
    agree = [fmean(group) >= at_least for group in by_concept(values)]
    return [Comparison(what, *interval(values), at_least, f"{sum(agree)} of {len(agree)}")] if values else []


class Study:
    """The results of a study, which pairs cells of the same concept and seed."""

    def __init__(self, results: Iterable[Result]) -> None:
        self.cells = {(result.kind, result.setup, result.concept, result.seed): result for result in results}

    def of(self, kind: str, setup: str) -> list[Result]:
        return [result for (cell_kind, name, _, _), result in self.cells.items() if (cell_kind, name) == (kind, setup)]

    def setups(self, kind: str) -> list[str]:
        return list(dict.fromkeys(name for cell_kind, name, _, _ in self.cells if cell_kind == kind))

    def paired(self, kind: str, one: str, other: str, number: Callable[[Result], float]) -> list[tuple[str, float]]:
        """Return the concept and `number` of setup `one` minus that of `other`, for every concept and seed that both have."""
        pairs = [(result, self.cells.get((kind, other, result.concept, result.seed))) for result in self.of(kind, one)]
        return [(first.concept, number(first) - number(second)) for first, second in pairs if second]


def value(score: str, which: str = "value") -> Callable[[Result], float]:
    return lambda result: float(result.scores[score][which])


FAITHFUL, EDITABLE = value("reconstruction"), value("editability")


def named(reference: str) -> str:
    """Return a reference's name as the paper writes it."""
    names = {"value": "plain", "image_only": "Image-Only", "prompt_only": "Prompt-Only", "coarse_word": "coarse word"}
    return names.get(reference, reference.replace("_", " "))
