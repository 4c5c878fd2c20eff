"""The gate: whether a version of a concept may take the champion's place. Pure: two score records in, one decision out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Verdict = Literal["first", "better", "no_better", "worse", "rescore", "pictures_changed", "base_changed", "accepted"]
PROMOTING: tuple[Verdict, ...] = ("first", "better", "accepted")
SCORES = ("reconstruction", "editability")
LAST = "prompt_suite"  # of a version's evidence the tag that is written last: without it the others are not to be trusted


class Score(NamedTuple):
    """A mean CLIP cosine with the ends of its bootstrap interval."""

    value: float
    low: float
    high: float

    def known(self) -> dict[str, float | None]:
        """Return {value, low, high}; a version from before the gate kept no interval, and JSON has no NaN."""
        return {name: None if math.isnan(number) else number for name, number in self._asdict().items()}


@dataclass(frozen=True)
class ScoreRecord:
    """What a version scored, and everything that the scores depend on besides its word. An identity that nobody kept is ""."""

    version: int
    reconstruction: Score
    editability: Score
    base_weights_sha256: str
    scorer_model: str
    scorer_weights_sha256: str
    prompt_suite: str
    sampling: str
    pictures_sha256: str
    """The curated pictures that the word was learned from."""
    scored_on_sha256: str
    """The curated pictures that its reconstruction was measured against."""


JUDGES = ("scorer_model", "scorer_weights_sha256", "prompt_suite", "sampling")
"""The fields in which two records must agree before their scores mean the same."""


@dataclass(frozen=True)
class Decision:
    """Whether a version is promoted, and why."""

    verdict: Verdict
    reason: str
    against: int | None
    """The champion's version, or None where there was none."""
    numbers: dict[str, dict[str, float]]
    """score -> {challenger, champion, low, high}; the ends are the champion's. Empty where the scores do not compare."""

    @property
    def promote(self) -> bool:
        return self.verdict in PROMOTING


def evidence(scores: Mapping[str, Any], samples: Mapping[str, Any], pictures_sha256: str, scored_on_sha256: str) -> dict[str, str]:
    """Return a version's scores and what they depend on as tags; `score_record` reads them.

    scores, samples: the contents of data/scores/<concept>.json and samples.json.
    """
    scorer, seeds = scores["scorer"], samples["seeds"]
    steps, guidance = samples["num_inference_steps"], samples["guidance_scale"]
    ends = {"value": "", "low": "_low", "high": "_high"}
    return {
        **{name + suffix: str(scores[name][key]) for name in SCORES for key, suffix in ends.items()},
        "base_weights_sha256": str(samples["base"]["weights_sha256"]),
        "scorer_model": str(scorer["model"]),
        "scorer_weights_sha256": str(scorer["weights_sha256"]),
        "sampling": f"DDIM, {steps} steps, guidance {guidance:g}, seeds {seeds[0]}-{seeds[-1]}",
        "pictures_sha256": pictures_sha256,
        "scored_on_sha256": scored_on_sha256,
        LAST: str(scorer["prompt_suite"]),
    }


def score_record(version: int, tags: Mapping[str, str]) -> ScoreRecord:
    """Read a version's tags; versions from before the gate lack some, which then count as not known."""
    first, second = (Score(*(float(tags.get(name + end, "nan")) for end in ("", "_low", "_high"))) for name in SCORES)
    identities = [name for name in ScoreRecord.__dataclass_fields__ if name not in ("version", *SCORES)]
    return ScoreRecord(version, first, second, **{name: tags.get(name, "") for name in identities})


def decide(concept: str, challenger: ScoreRecord, champion: ScoreRecord | None, accept: str = "") -> Decision:
    """Decide whether `challenger` may replace `champion`.

    Scores compare only under the same base, scorer, prompts, sampling and pictures. Then neither may fall below the champion's
    interval and one must rise above it. `accept` is a person's reason; it stands in for a comparison that cannot be made, because
    the pictures or the base are others, and never overrules one that can.
    """
    if champion is None:
        return Decision("first", "there is no champion to compare it with", None, {})
    mine, its = f"v{challenger.version}", f"champion v{champion.version}"
    look = f"look at both with `wordmint diff {concept} {champion.version} {challenger.version}`"
    by_hand = f'{look}, then `wordmint promote {concept} --accept "REASON"`'

    def decided(verdict: Verdict, reason: str, numbers: dict[str, dict[str, float]] | None = None) -> Decision:
        return Decision(verdict, reason, champion.version, numbers or {})

    if differ("base_weights_sha256", challenger, champion):
        if accept:
            return decided("accepted", accept)
        bases = f"{mine} was learned on base {challenger.base_weights_sha256[:12]}, {its} on {champion.base_weights_sha256[:12] or 'an unknown one'}"
        return decided("base_changed", f"{bases}: words of two bases do not compare; {by_hand}, or give params.yaml the old base again")
    if odd := [name for name in JUDGES if differ(name, challenger, champion)]:
        return decided("rescore", f"{mine} and {its} were judged by other {', '.join(odd)}; {rescoring(concept, challenger, champion)}")
    numbers = {name: compared(getattr(challenger, name), getattr(champion, name)) for name in SCORES}
    on_others = differ("scored_on_sha256", challenger, champion)
    if differ("pictures_sha256", challenger, champion):
        numbers = {} if on_others else numbers
        if accept:
            return decided("accepted", accept, numbers)
        return decided("pictures_changed", f"{mine} was learned from other pictures than {its}, so scores alone do not settle it; {by_hand}", numbers)
    if on_others:
        return decided("rescore", f"{mine} and {its} were scored against other pictures; {rescoring(concept, challenger, champion)}")
    worse = [name for name in SCORES if numbers[name]["challenger"] < numbers[name]["low"]]
    better = [name for name in SCORES if numbers[name]["challenger"] > numbers[name]["high"]]
    said = "; ".join(sentence(name, numbers[name]) for name in worse or better or SCORES)
    if worse:
        return decided("worse", f"{mine} is worse than {its}: {said}; change its pictures or settings and build it again", numbers)
    if not better:
        return decided("no_better", f"{mine} is neither better nor worse than {its}: {said}; {its} stays", numbers)
    return decided("better", f"{mine} is better than {its}: {said}", numbers)


def differ(name: str, one: ScoreRecord, other: ScoreRecord) -> bool:
    """Tell whether two records differ in a field; what is not known differs from everything."""
    return not getattr(one, name) or getattr(one, name) != getattr(other, name)


def compared(challenger: Score, champion: Score) -> dict[str, float]:
    return {"challenger": challenger.value, "champion": champion.value, "low": champion.low, "high": champion.high}


def sentence(name: str, number: Mapping[str, float]) -> str:
    side = "below" if number["challenger"] < number["low"] else "above" if number["challenger"] > number["high"] else "inside"
    return f"{name} {number['challenger']:.3f} is {side} the champion's {number['low']:.3f} to {number['high']:.3f}"


def rescoring(concept: str, challenger: ScoreRecord, champion: ScoreRecord) -> str:
    return f"bring v{champion.version} to the present with `wordmint rescore {concept}` (v{challenger.version} with --version {challenger.version})"
