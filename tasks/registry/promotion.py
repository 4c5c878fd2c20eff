"""The gate: whether a version of a concept may become champion. A pure function of two score records."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Verdict = Literal["first", "better", "no_better", "worse", "rescore", "pictures_changed", "base_changed", "accepted"]
PROMOTING: tuple[Verdict, ...] = ("first", "better", "accepted")
SCORES = ("reconstruction", "editability")
LAST = "prompt_suite"  # the evidence tag that is written last; without it the others cannot be trusted


class Score(NamedTuple):
    """A mean CLIP cosine with the ends of its bootstrap interval."""

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, float | None]:
        """Return {value, low, high} with None for NaN, which JSON lacks; a version from before the gate has no interval."""
        return {name: None if math.isnan(number) else number for name, number in self._asdict().items()}


@dataclass(frozen=True)
class ScoreRecord:
    """The scores of a version, and everything that they depend on besides its word. An identity that was not kept is ""."""

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
    """Read a version's tags; the tags that a version from before the gate lacks count as unknown."""
    reconstruction, editability = (Score(*(float(tags.get(name + end, "nan")) for end in ("", "_low", "_high"))) for name in SCORES)
    identities = [name for name in ScoreRecord.__dataclass_fields__ if name not in ("version", *SCORES)]
    return ScoreRecord(version, reconstruction, editability, **{name: tags.get(name, "") for name in identities})


def decide(concept: str, challenger: ScoreRecord, champion: ScoreRecord | None, accept: str = "") -> Decision:
    """Decide whether `challenger` may replace `champion`.

    Scores compare only under the same base, scorer, prompts, sampling and pictures. Then neither may fall below the champion's
    interval and one must rise above it. `accept` is a person's reason to promote where other pictures or another base rule out a
    comparison; it never overrules a comparison.
    """
    if champion is None:
        return Decision("first", "there is no champion to compare it with", None, {})
    new, old = f"v{challenger.version}", f"champion v{champion.version}"
    look = f"look at both with `wordmint diff {concept} {champion.version} {challenger.version}`"
    by_hand = f'{look}, then `wordmint promote {concept} --accept "REASON"`'

    def decided(verdict: Verdict, reason: str, numbers: dict[str, dict[str, float]] | None = None) -> Decision:
        return Decision(verdict, reason, champion.version, numbers or {})

    if differ("base_weights_sha256", challenger, champion):
        if accept:
            return decided("accepted", accept)
        bases = f"{new} was learned on base {challenger.base_weights_sha256[:12]}, {old} on {champion.base_weights_sha256[:12] or 'an unknown one'}"
        return decided("base_changed", f"{bases}: words of two bases do not compare; {by_hand}, or give params.yaml the old base again")
    if changed := [name for name in JUDGES if differ(name, challenger, champion)]:
        return decided("rescore", f"{new} and {old} were judged by other {', '.join(changed)}; {rescoring(concept, challenger, champion)}")
    numbers = {name: compared(getattr(challenger, name), getattr(champion, name)) for name in SCORES}
    other_pictures = differ("scored_on_sha256", challenger, champion)
    if differ("pictures_sha256", challenger, champion):
        numbers = {} if other_pictures else numbers
        if accept:
            return decided("accepted", accept, numbers)
        return decided("pictures_changed", f"{new} was learned from other pictures than {old}, so scores alone do not settle it; {by_hand}", numbers)
    if other_pictures:
        return decided("rescore", f"{new} and {old} were scored against other pictures; {rescoring(concept, challenger, champion)}")
    worse = [name for name in SCORES if numbers[name]["challenger"] < numbers[name]["low"]]
    better = [name for name in SCORES if numbers[name]["challenger"] > numbers[name]["high"]]
    comparison = "; ".join(sentence(name, numbers[name]) for name in worse or better or SCORES)
    if worse:
        return decided("worse", f"{new} is worse than {old}: {comparison}; change its pictures or settings and build it again", numbers)
    if not better:
        return decided("no_better", f"{new} is neither better nor worse than {old}: {comparison}; {old} stays", numbers)
    return decided("better", f"{new} is better than {old}: {comparison}", numbers)


def differ(name: str, challenger: ScoreRecord, champion: ScoreRecord) -> bool:
    """Tell whether two records differ in a field; an unknown value differs from every value."""
    return not getattr(challenger, name) or getattr(challenger, name) != getattr(champion, name)


def compared(challenger: Score, champion: Score) -> dict[str, float]:
    return {"challenger": challenger.value, "champion": champion.value, "low": champion.low, "high": champion.high}


def sentence(name: str, number: Mapping[str, float]) -> str:
    side = "below" if number["challenger"] < number["low"] else "above" if number["challenger"] > number["high"] else "inside"
    return f"{name} {number['challenger']:.3f} is {side} the champion's {number['low']:.3f} to {number['high']:.3f}"


def rescoring(concept: str, challenger: ScoreRecord, champion: ScoreRecord) -> str:
    return f"bring v{champion.version} to the present with `wordmint rescore {concept}` (v{challenger.version} with --version {challenger.version})"
