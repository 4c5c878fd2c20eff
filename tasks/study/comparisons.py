"""Paired comparisons of a study's results, with the interval and the verdict of each."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import sqrt
from statistics import fmean, stdev
from typing import Any, Literal, NamedTuple

from scipy.stats import t as student

from tasks.registry.promotion import measured

Verdict = Literal["holds", "does not hold", "undecided", "not measured"]
TRAINED = ("norm", "vocabulary_norm_median", "optimizer_steps", "seconds")  # numbers of train.json that the study shows
AGAINST = ("does not hold", "undecided", "holds")
CONFIDENCE = 0.95
MOST_NEEDED = 1000
AS_WELL = 0.9  # "about as well as": at least this share
COUNTS = 0.01  # the smallest difference of cosines that counts; two trainings of one word differ by as much


@dataclass(frozen=True)
class Result:
    """The result of a cell."""

    kind: str
    setup: str
    concept: str
    seed: int
    scores: dict[str, Any]
    """The content of its score file."""
    train: dict[str, Any] = field(default_factory=dict)
    """The content of its train.json; of a rival the seconds in which it drew its pictures."""
    word_likeness: float | None = None
    """Cosine of the learned vectors' mean with the nearest word of the vocabulary."""
    size: int | None = None
    """Bytes of the files of what was learned."""

    def numbers(self) -> dict[str, float]:
        """Return the numbers that the study shows of the cell, in one flat dict."""
        scores = {f"{score}_{name}": number for score in measured(self.scores) for name, number in self.scores[score].items() if number is not None}
        learned = {name: self.train.get(name) for name in TRAINED} | {"bytes": self.size, "word_likeness": self.word_likeness}
        numbers = {name.removesuffix("_value"): number for name, number in scores.items()} | learned
        return {name: round(float(number), 5) for name, number in numbers.items() if number is not None}


class Comparison(NamedTuple):
    """A mean over cells with its interval, and the bound `at_least` that a claim sets for it; 0 where it claims a difference."""

    what: str
    mean: float
    low: float
    high: float
    at_least: float
    agree: str
    """How many of the concepts reach `at_least` by themselves, such as `2 of 3`."""
    spread: float
    """Standard deviation of the concepts' means; NaN for one concept."""

    @property
    def refuted_below(self) -> float:
        """The claim does not hold if the whole interval lies below this number. A bound other than 0 has its tolerance in it."""
        return self.at_least or COUNTS

    @property
    def verdict(self) -> Verdict:
        if self.high < self.refuted_below:
            return "does not hold"
        return "holds" if self.low >= self.at_least else "undecided"

    @property
    def needed(self) -> int | None:
        """The fewest concepts whose interval would decide, if their mean and spread were these; None if `MOST_NEEDED` would not."""
        distance = max(self.mean - self.at_least, self.refuted_below - self.mean)
        numbers = range(2, MOST_NEEDED + 1)
        return next((number for number in numbers if half_width(self.spread, number) <= distance), None)


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


def concept_means(values: Iterable[tuple[str, float]]) -> list[float]:
    """Return the mean over the training seeds for each concept, from values with the name of their concept."""
    groups: dict[str, list[float]] = {}
    for concept, number in values:
        groups.setdefault(concept, []).append(number)
    return [fmean(group) for group in groups.values()]


def half_width(spread: float, number: int) -> float:
    """Return half of Student's t interval for the mean of `number` concepts whose standard deviation is `spread`."""
    return float(student.ppf((1 + CONFIDENCE) / 2, number - 1)) * spread / sqrt(number)


def interval(means: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean and both ends of Student's t interval over the concepts; a single concept has an infinite one.

    The concepts stand for others like them, so the interval says what another choice of concepts would give. Training seeds only make a
    concept's own value more exact: to count them as further values would be pseudoreplication (Hurlbert 1984).
    """
    if len(means) == 1:
        return means[0], float("-inf"), float("inf")
    half = half_width(stdev(means), len(means))
    return fmean(means), fmean(means) - half, fmean(means) + half


def compare(what: str, values: Iterable[tuple[str, float]], at_least: float = 0.0) -> list[Comparison]:
    """Compare paired values, each with the name of its concept; return one comparison, or none when nothing was measured."""
    if not (means := concept_means(values)):
        return []
    agree = sum(mean >= at_least for mean in means)
    spread = stdev(means) if len(means) > 1 else float("nan")
    return [Comparison(what, *interval(means), at_least, f"{agree} of {len(means)}", spread)]


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
