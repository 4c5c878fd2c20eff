"""The eight ordinal claims of Gal et al. 2022, section 5 and appendix A, decided from a study's numbers and from nothing else."""

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
    """What a cell came to."""

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


def decide(study: Study) -> list[Claim]:
    """Return the claims in the paper's order with the numbers that decide them."""

    def more(one: str, other: str, score: str, by: float = 0.0, kind: str = "setup") -> list[Comparison]:
        slack = f" by no more than {-by:g} less" if by < 0 else ""
        return compare(f"{score}: {one} above {other}{slack}", study.paired(kind, one, other, value(score)), by)

    def reference(one: str, other: str, score: str) -> list[Comparison]:
        """Is a reference's score above another's? What no training seed moves is one value for each concept."""
        pairs = [(result.concept, result.scores[score].get(one), result.scores[score].get(other)) for result in study.of("setup", "plain")]
        measured = [(concept, first - second) for concept, first, second in pairs if first is not None and second is not None]
        return compare(f"{score}: {named(one)} above {named(other)}", measured if one == "value" else dict(measured).items())

    def extreme(which: str, score: str, sign: int) -> list[Comparison]:
        """Is a reference beyond every setup? The one that speaks most against it decides."""
        found = []
        for setup in study.setups("setup"):
            cells = [(result.concept, result.scores[score]) for result in study.of("setup", setup)]
            values = [(concept, sign * (scores[which] - scores["value"])) for concept, scores in cells]
            found += compare(f"{score}: {named(which)} {'above' if sign > 0 else 'below'} {setup}", values)
        return sorted(found, key=lambda comparison: (AGAINST.index(comparison.verdict), comparison.low))[:1]

    def cost(setup: str, concept: str, seed: int) -> float:
        """Return the editability that is lost when a training's word is drawn with more guidance."""
        return EDITABLE(study.cells["setup", setup, concept, seed]) - EDITABLE(study.cells["guided", setup, concept, seed])

    guided = [(result.concept, result.seed) for result in study.of("guided", "pivotal")]
    dearer = [(at[0], cost("pivotal", *at) - cost("plain", *at)) for at in guided]
    smallest, largest = "5", (study.setups("size") or [""])[-1]
    return [
        Claim(
            "a",
            "one word reconstructs about as well as random training pictures do",
            compare(
                f"reconstruction: plain as a share of Image-Only, at least {AS_WELL:g}",
                [(cell.concept, FAITHFUL(cell) / cell.scores["reconstruction"]["image_only"]) for cell in study.of("setup", "plain")],
                AS_WELL,
            ),
        ),
        Claim(
            "b",
            "one word is at least as editable as several, at a similar reconstruction",
            [*more("plain", "two-vectors", "editability", -AS_EDITABLE), *more("plain", "three-vectors", "editability", -AS_EDITABLE)],
        ),
        Claim(
            "c",
            "the learning rate moves along one curve: the higher, the more faithful and the less editable",
            [
                *more("high-lr", "plain", "reconstruction"),
                *more("plain", "low-lr", "reconstruction"),
                *more("plain", "high-lr", "editability"),
                *more("low-lr", "plain", "editability"),
            ],
        ),
        Claim(
            "d",
            "regularised and Low-LR words are more editable and less faithful",
            [
                *more("regularised", "plain", "editability"),
                *more("plain", "regularised", "reconstruction"),
                *more("low-lr", "plain", "editability"),
                *more("plain", "low-lr", "reconstruction"),
            ],
        ),
        Claim(
            "e",
            "human captions lose on both scores, long ones most on editability",
            [
                *reference("value", "human_short", "reconstruction"),
                *reference("value", "human_short", "editability"),
                *reference("value", "human_long", "reconstruction"),
                *reference("human_short", "human_long", "editability"),
            ],
        ),
        Claim(
            "f",
            "Image-Only and Prompt-Only are the extremes",
            [
                *extreme("image_only", "reconstruction", +1),
                *extreme("image_only", "editability", -1),
                *extreme("prompt_only", "editability", +1),
                *extreme("prompt_only", "reconstruction", -1),
            ],
        ),
        Claim(
            "g",
            "more than five pictures drift away from real words and lose editability",
            [
                *more(smallest, largest, "editability", kind="size"),
                *compare(
                    f"cosine with the nearest word: {smallest} above {largest} pictures",
                    study.paired("size", smallest, largest, lambda result: result.word_likeness),
                ),
            ],
        ),
        Claim(
            "h",
            "pivotal tuning loses edits at high guidance (bipartite inversion is not measured)",
            [
                *more("plain", "pivotal", "editability", kind="guided"),
                *compare("editability that the guidance costs: pivotal above plain", dearer),
            ],
        ),
    ]


def named(reference: str) -> str:
    """Return a reference's name as the paper writes it."""
    names = {"value": "plain", "image_only": "Image-Only", "prompt_only": "Prompt-Only", "coarse_word": "coarse word"}
    return names.get(reference, reference.replace("_", " "))
