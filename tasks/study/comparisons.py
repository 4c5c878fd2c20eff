"""Paired comparisons of a study's results, with the interval and the verdict of each."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev
from typing import Any, Literal, NamedTuple

from scipy.stats import t as student

Verdict = Literal["holds", "does not hold", "undecided", "not measured"]
AGAINST = ("does not hold", "undecided", "holds")
SCORES = ("reconstruction", "editability")
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
    """Of its score file."""
    train: dict[str, Any]
    """Its train.json."""
    word_likeness: float
    """Cosine of the learned vectors' mean with the nearest word of the vocabulary."""

    def numbers(self) -> dict[str, float]:
        """Return what the study shows of the cell, flat."""
        scores = {f"{score}_{name}": number for score in SCORES for name, number in self.scores[score].items() if number is not None}
        trained = {name: float(self.train[name]) for name in ("norm", "vocabulary_norm_median", "optimizer_steps", "seconds")}
        return (
            {name.removesuffix("_value"): round(number, 5) for name, number in scores.items()}
            | trained
            | {"word_likeness": round(self.word_likeness, 5)}
        )


class Comparison(NamedTuple):
    """A mean over cells with its interval, and the value that it must not be below."""

    what: str
    mean: float
    low: float
    high: float
    at_least: float
    agree: str
    """How many of the concepts are not below it by themselves."""

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
        """A claim holds when all its comparisons do, and does not when one does not."""
        verdicts = {comparison.verdict for comparison in self.comparisons}
        if not verdicts:
            return "not measured"
        if "does not hold" in verdicts:
            return "does not hold"
        return "undecided" if "undecided" in verdicts else "holds"


def by_concept(values: Iterable[tuple[str, float]]) -> list[list[float]]:
    """Return the values of each concept, one for each training seed."""
    found: dict[str, list[float]] = {}
    for concept, number in values:
        found.setdefault(concept, []).append(number)
    return list(found.values())


def interval(values: Iterable[tuple[str, float]]) -> tuple[float, float, float]:
    """Return the mean over the concepts and both ends of Student's t interval, from values with the name of their concept.

    Trainings of one concept with several seeds say how far another seed would move the mean of these very concepts (one-way layout, pooled
    variance): an easy concept beside a hard one is no uncertainty, and what other concepts would do is not said. One value for each concept
    says something of concepts like these. One value alone could be anything.
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
    """Return the comparison of paired values with the names of their concepts, or none when nothing was measured."""
    values = list(values)
    agree = [fmean(group) >= at_least for group in by_concept(values)]
    return [Comparison(what, *interval(values), at_least, f"{sum(agree)} of {len(agree)}")] if values else []


class Study:
    """A study's results, asked for paired differences: cells of the same concept and seed are compared with each other."""

    def __init__(self, results: Iterable[Result]) -> None:
        self.cells = {(result.kind, result.setup, result.concept, result.seed): result for result in results}

    def of(self, kind: str, setup: str) -> list[Result]:
        return [result for (its, name, _, _), result in self.cells.items() if (its, name) == (kind, setup)]

    def setups(self, kind: str) -> list[str]:
        return list(dict.fromkeys(name for its, name, _, _ in self.cells if its == kind))

    def paired(self, kind: str, one: str, other: str, number: Callable[[Result], float]) -> list[tuple[str, float]]:
        """Return `number` of setup `one` minus that of `other` for every concept and seed that both have, with the concept."""
        pairs = [(result, self.cells.get((kind, other, result.concept, result.seed))) for result in self.of(kind, one)]
        return [(first.concept, number(first) - number(second)) for first, second in pairs if second]


def value(score: str, which: str = "value") -> Callable[[Result], float]:
    return lambda result: float(result.scores[score][which])


FAITHFUL, EDITABLE = value("reconstruction"), value("editability")


def named(reference: str) -> str:
    """Return a reference's name as the paper writes it."""
    names = {"value": "plain", "image_only": "Image-Only", "prompt_only": "Prompt-Only", "coarse_word": "coarse word"}
    return names.get(reference, reference.replace("_", " "))
