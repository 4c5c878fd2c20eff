"""The gate: whether a version of a concept may become champion. A pure function of two score records."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Verdict = Literal["first", "below_floor", "better", "no_better", "worse", "rescore", "pictures_changed", "base_changed", "accepted"]
PROMOTING: tuple[Verdict, ...] = ("first", "better", "accepted")
SCORES = ("reconstruction", "editability", "fidelity")
"""The scores of a concept. A style has no fidelity, and a catalog without a judge of fidelity has none."""
FLOORED = ("reconstruction", "fidelity")
"""The scores that the floor checks in a concept's first version."""
LAST = "prompt_suite"  # the evidence tag that is written last; without it the others cannot be trusted


class Score(NamedTuple):
    """A mean cosine with the ends of its bootstrap interval, and what the prompt without the word and with the coarse word reach."""

    value: float
    low: float
    high: float
    prompt_only: float | None = None
    coarse_word: float | None = None

    def as_json(self) -> dict[str, float | None]:
        """Return {value, low, high} with None for NaN, which JSON lacks; a version from before the gate has no interval."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        return {name: None if math.isnan(number) else number for name, number in numbers.items()}

    def fault(self) -> str:
        """Say why the score is too low for a first version; an empty text means that it is not."""
        if self.coarse_word is not None and self.value < self.coarse_word:
            return f"{self.value:.3f} is below the coarse word's {self.coarse_word:.3f}"
        if self.prompt_only is not None and self.low <= self.prompt_only:
            return f"{self.value:.3f} (from {self.low:.3f}) is not clearly above the {self.prompt_only:.3f} of prompts without the word"
        return ""


@dataclass(frozen=True)
class ScoreRecord:
    """The scores of a version, and everything that they depend on besides its word. An identity that was not kept is ""."""

    version: int
    reconstruction: Score
    editability: Score
    fidelity: Score | None
    base_weights_sha256: str
    scorer_model: str
    scorer_weights_sha256: str
    fidelity_judge: str
    """The model that measured fidelity, with its weights, or NO_JUDGE."""
    prompt_suite: str
    sampling: str
    pictures_sha256: str
    """The curated pictures that the word was learned from."""
    scored_on_sha256: str
    """The curated pictures that its reconstruction was measured against."""

    @property
    def scores(self) -> dict[str, Score]:
        """The scores that were measured."""
        return {name: score for name in SCORES if (score := getattr(self, name)) is not None}


NO_JUDGE = "none"
JUDGES = ("scorer_model", "scorer_weights_sha256", "fidelity_judge", "prompt_suite", "sampling")
"""Scores compare only if their records agree in these fields."""


@dataclass(frozen=True)
class Decision:
    """Whether a version is promoted, and why."""

    verdict: Verdict
    reason: str
    against: int | None
    """The champion's version, or None if there was none."""
    numbers: dict[str, dict[str, float]]
    """score -> {challenger, champion, low, high}, with the champion's interval. Empty if the scores do not compare."""

    @property
    def promote(self) -> bool:
        return self.verdict in PROMOTING


def measured(scores: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the scores that a record has; one from before a score was invented lacks it."""
    return tuple(name for name in SCORES if scores.get(name) is not None)


def headline(scores: Mapping[str, Any]) -> dict[str, float]:
    """Return each score as `name`, its interval and bounds as `name_low` and so on, and what shows overfitting; None is left out."""
    flat = {name + ("" if key == "value" else f"_{key}"): value for name in measured(scores) for key, value in scores[name].items()}
    flat |= {"diversity": (scores.get("diversity") or {}).get("value"), "copies": scores.get("copies")}
    return {name: float(value) for name, value in flat.items() if value is not None}


def evidence(scores: Mapping[str, Any], samples: Mapping[str, Any], pictures_sha256: str, scored_on_sha256: str) -> dict[str, str]:
    """Return a version's scores and what they depend on as tags; `score_record` reads them.

    A score that is not measured has empty tags, which replace those of an earlier scoring.
    scores, samples: the contents of data/scores/<concept>.json and samples.json.
    """
    scorer, seeds = scores["scorer"], samples["seeds"]
    steps, guidance = samples["num_inference_steps"], samples["guidance_scale"]
    numbers = {name: scores.get(name) or {} for name in SCORES}
    sampler = f"{samples.get('sampler', 'DDIM')}{' on weights of ' + samples['weights'] if 'weights' in samples else ''}"
    return {
        **{name + suffix: text(numbers[name].get(key)) for name in SCORES for key, suffix in ENDS.items()},
        "base_weights_sha256": str(samples["base"]["weights_sha256"]),
        "scorer_model": str(scorer["model"]),
        "scorer_weights_sha256": str(scorer["weights_sha256"]),
        "fidelity_judge": judge_of_fidelity(scorer),
        "sampling": f"{sampler}, {steps} steps, guidance {guidance:g}, seeds {seeds[0]}-{seeds[-1]}",
        "pictures_sha256": pictures_sha256,
        "scored_on_sha256": scored_on_sha256,
        LAST: str(scorer["prompt_suite"]),
    }


def judge_of_fidelity(scorer: Mapping[str, Any]) -> str:
    """Return the tag that names the judge of fidelity; scorer: the entry of a score file."""
    eye = scorer.get("fidelity")
    return f"{eye['model']} @ {eye['weights_sha256']}" if eye else NO_JUDGE


ENDS = {"value": "", "low": "_low", "high": "_high", "prompt_only": "_prompt_only", "coarse_word": "_coarse_word"}
"""Field of Score -> the suffix of its tag."""


def text(number: float | None) -> str:
    return "" if number is None else str(number)


def read_score(name: str, tags: Mapping[str, str]) -> Score:
    value, low, high, *bounds = (tags.get(name + suffix) or None for suffix in ENDS.values())
    return Score(*(float(end or "nan") for end in (value, low, high)), *(None if bound is None else float(bound) for bound in bounds))


def score_record(version: int, tags: Mapping[str, str]) -> ScoreRecord:
    """Read a version's tags; the tags that a version from before the gate lacks count as unknown."""
    reconstruction, editability, fidelity = (read_score(name, tags) for name in SCORES)
    identities = [name for name in ScoreRecord.__dataclass_fields__ if name not in ("version", *SCORES)]
    known = {"fidelity_judge": NO_JUDGE} | {name: tags[name] for name in identities if name in tags}
    seen = None if math.isnan(fidelity.value) else fidelity
    return ScoreRecord(version, reconstruction, editability, seen, **{name: known.get(name, "") for name in identities})


def decide(concept: str, challenger: ScoreRecord, champion: ScoreRecord | None, accept: str = "", floor: bool = True) -> Decision:
    """Decide whether `challenger` may replace `champion`.

    Scores compare only under the same base, judges, prompts, sampling and pictures. Then none may fall below the champion's
    interval and one must rise above it. With `floor`, a first version must look more like its pictures than what its prompt draws
    without the word, and no less than what its coarse word draws. `accept` is a person's reason to promote a first version that does
    not, or where other pictures or another base rule out a comparison; it never overrules a comparison.
    """
    if champion is None:
        return first(concept, challenger, accept, floor)
    new, old = f"v{challenger.version}", f"champion v{champion.version}"
    look = f"look at both with `wordmint diff {concept} {champion.version} {challenger.version}`"
    by_hand = f'{look}, then `wordmint promote {concept} --accept "REASON"`'

    def decided(verdict: Verdict, reason: str, numbers: dict[str, dict[str, float]] | None = None) -> Decision:
        return Decision(verdict, reason, champion.version, numbers or {})

    if differ("base_weights_sha256", challenger, champion):
        if accept:
            return decided("accepted", accept)
        bases = f"{new} was learned on base {challenger.base_weights_sha256[:12]}, {old} on {champion.base_weights_sha256[:12] or 'an unknown one'}"
        return decided("base_changed", f"{bases}: words of two bases cannot be compared; {by_hand}, or restore base in params.yaml")
    if changed := [name for name in JUDGES if differ(name, challenger, champion)]:
        return decided("rescore", f"{new} and {old} differ in {', '.join(changed)}; {rescoring(concept, challenger, champion)}")
    numbers = {name: compared(score, champion.scores[name]) for name, score in challenger.scores.items() if name in champion.scores}
    other_pictures = differ("scored_on_sha256", challenger, champion)
    if differ("pictures_sha256", challenger, champion):
        numbers = {} if other_pictures else numbers
        if accept:
            return decided("accepted", accept, numbers)
        return decided("pictures_changed", f"{new} was learned from other pictures than {old}, so scores alone do not settle it; {by_hand}", numbers)
    if other_pictures:
        return decided("rescore", f"{new} and {old} were scored against other pictures; {rescoring(concept, challenger, champion)}")
    worse = [name for name in numbers if numbers[name]["challenger"] < numbers[name]["low"]]
    better = [name for name in numbers if numbers[name]["challenger"] > numbers[name]["high"]]
    comparison = "; ".join(sentence(name, numbers[name]) for name in worse or better or numbers)
    if worse:
        return decided("worse", f"{new} is worse than {old}: {comparison}; change its pictures or settings and build it again", numbers)
    if not better:
        return decided("no_better", f"{new} is neither better nor worse than {old}: {comparison}; {old} stays", numbers)
    return decided("better", f"{new} is better than {old}: {comparison}", numbers)


def first(concept: str, version: ScoreRecord, accept: str, floor: bool) -> Decision:
    """Decide whether the first version of a concept may become champion."""
    faults = {name: version.scores[name].fault() for name in FLOORED if name in version.scores}
    said = "; ".join(f"{name} {fault}" for name, fault in faults.items() if fault)
    if not said or not floor:
        return Decision("first", "there is no champion to compare it with", None, {})
    if accept:
        return Decision("accepted", accept, None, {})
    by_hand = f'look at its samples, then `wordmint promote {concept} --accept "REASON"`'
    return Decision("below_floor", f"{said}; change its pictures or settings and build it again, or {by_hand}", None, {})


def differ(name: str, challenger: ScoreRecord, champion: ScoreRecord) -> bool:
    """Tell whether two records differ in a field; an unknown value differs from every value."""
    return not getattr(challenger, name) or getattr(challenger, name) != getattr(champion, name)


def compared(challenger: Score, champion: Score) -> dict[str, float]:
    return {"challenger": challenger.value, "champion": champion.value, "low": champion.low, "high": champion.high}


def sentence(name: str, number: Mapping[str, float]) -> str:
    side = "below" if number["challenger"] < number["low"] else "above" if number["challenger"] > number["high"] else "inside"
    return f"{name} {number['challenger']:.3f} is {side} the champion's {number['low']:.3f} to {number['high']:.3f}"


def rescoring(concept: str, challenger: ScoreRecord, champion: ScoreRecord) -> str:
    return f"score v{champion.version} again with `wordmint rescore {concept}` (v{challenger.version} with --version {challenger.version})"
