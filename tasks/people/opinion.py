"""What people think of a catalog's versions, how far the scores agree with them, and the numbers on the versions in MLflow."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import isnan
from typing import Any

from tasks import artifacts
from tasks.people import answers
from tasks.people.aggregate import Agreement, Bootstrap, Ranking, among_raters, mean_tau, preferences, with_score
from tasks.people.answers import Answered
from tasks.people.questionnaire import PARTS, SIMILARITY, TEXT
from tasks.pipeline import repository
from tasks.registry import connection, human_scores
from tasks.registry.connection import tracking_uri
from tasks.settings import Settings
from tasks.similarity.scores import Interval

METRICS = {SIMILARITY: "human_fidelity", TEXT: "human_editability"}
AUTOMATIC = {SIMILARITY: ("reconstruction", "fidelity"), TEXT: ("editability",)}
"""The scores that the answers to each part are compared with; not every catalog has `fidelity`."""
Rankings = dict[str, list[Ranking]]  # by part


def opinion(concepts: Sequence[str], settings: Settings, allowed: float) -> dict[str, Any]:
    """Fetch the answers that are kept, write what they say on the versions in MLflow, and return it, as `heard` does.

    Raises:
        ValueError: no answers are kept, or a version in the registry is not the one that was shown.
    """
    with repository.open_repo() as repo:
        answers.complete(repo, [artifacts.answers(concept) for concept in concepts])
    facts = heard(concepts, settings, allowed)
    for concept, one in facts["concepts"].items():
        write(concept, counting(answers.kept(concept), allowed), one["candidates"])
    return facts


def heard(concepts: Sequence[str], settings: Settings, allowed: float) -> dict[str, Any]:
    """Return what the answers on this machine say.

    allowed: the share of the attention checks that a rater may fail. Returns {concepts, agreement, dropped}. concepts: concept -> {raters,
    candidates}, where candidates are name -> metric -> {value, low, high}. agreement: metric -> what it is compared with -> {value, low,
    high} of Kendall's tau, or None. dropped: {code, questionnaire, failed, checks} of each rater whose answers do not count.

    Raises:
        ValueError: no answers are kept, or a version in the registry is not the one that was shown.
    """
    answered = {concept: answers.kept(concept) for concept in concepts}
    if not any(answered.values()):
        raise ValueError("no answers are kept yet; send the page of `wordmint questionnaire` to raters, then run `wordmint answers FILE...`")
    connection.connect(tracking_uri(settings))
    opinions, rankings, automatic = dict[str, Any](), dict[str, Rankings](), dict[str, dict[str, dict[str, float]]]()
    bootstrap = Bootstrap(settings.score.bootstrap_samples, settings.score.confidence, settings.score.seed)
    for concept, group in answered.items():
        if counted := counting(group, allowed):
            rankings[concept] = rankings_of(concept, counted)
            measured = {METRICS[part]: preferences(rankings[concept][part], bootstrap) for part in PARTS}
            opinions[concept] = judged(concept, counted, measured)
            automatic[concept] = automatic_scores(concept, counted)
    agreements = {METRICS[part]: agreement(part, rankings, automatic, partial(mean_tau, bootstrap=bootstrap)) for part in PARTS}
    return {"concepts": opinions, "agreement": agreements, "dropped": dropped(answered, allowed)}


def counting(group: Sequence[Answered], allowed: float) -> list[Answered]:
    return [one for one in group if not careless(one, allowed)]


def careless(one: Answered, allowed: float) -> bool:
    failed, checks = one.failed()
    return failed > allowed * checks


def dropped(answered: Mapping[str, Sequence[Answered]], allowed: float) -> list[dict[str, Any]]:
    """Return each rater whose answers do not count, once for all concepts of a questionnaire."""
    rows = {}
    for one in (one for group in answered.values() for one in group if careless(one, allowed)):
        failed, checks = one.failed()
        row = {"code": one.filled.code, "questionnaire": one.filled.questionnaire, "failed": failed, "checks": checks}
        rows[one.filled.questionnaire, one.filled.code] = row
    return [rows[key] for key in sorted(rows)]


def rankings_of(concept: str, group: Sequence[Answered]) -> Rankings:
    """Return the rankings of a concept's items by part, without the attention checks."""
    rankings: Rankings = {part: [] for part in PARTS}
    for one in group:
        for number, (item, order) in enumerate(zip(one.record["items"], one.filled.answers, strict=True)):
            if item["concept"] == concept and item["right"] is None:
                names = tuple(item["candidates"][place] for place in order)
                rankings[item["part"]].append(Ranking(one.filled.rater, f"{one.filled.questionnaire}/{number}", names))
    return rankings


def candidates_of(concept: str, group: Sequence[Answered]) -> dict[str, dict[str, Any]]:
    return {name: facts for one in group for name, facts in one.record["candidates"][concept].items()}


def judged(concept: str, group: Sequence[Answered], measured: Mapping[str, Mapping[str, Interval]]) -> dict[str, Any]:
    """Return {raters, candidates} of a concept; the registry must have the versions that raters saw."""
    shown = [facts for one in group for facts in one.record["candidates"][concept].values() if "version" in facts]
    for number, digest in sorted({(facts["version"], facts["digest"]) for facts in shown}):
        human_scores.check_version(concept, number, digest)
    found = {
        name: {metric: rounded(by_name[name]) for metric, by_name in measured.items() if name in by_name} for name in candidates_of(concept, group)
    }
    return {"raters": len({one.filled.rater for one in group}), "candidates": found}


def write(concept: str, group: Sequence[Answered], scores: Mapping[str, Mapping[str, Mapping[str, float | None]]]) -> None:
    """Write people's numbers on the versions of a concept. scores: candidate -> metric -> {value, low, high}."""
    for name, facts in candidates_of(concept, group).items():
        if "version" in facts:
            raters = {one.filled.rater for one in group if name in one.record["candidates"][concept]}
            human_scores.write(concept, facts["version"], scores[name], len(raters))


def rounded(score: Interval) -> dict[str, float | None]:
    """Return a score to five places, with None for the NaN that JSON lacks."""
    return {name: None if isnan(value) else round(value, 5) for name, value in score._asdict().items()}


def automatic_scores(concept: str, group: Sequence[Answered]) -> dict[str, dict[str, float]]:
    """Return score -> candidate -> its value by the scorer and prompts of the last build; a candidate without such a value is left out."""
    path, record = artifacts.scores(concept), artifacts.samples_record(concept)
    if not path.exists() or not record.exists():
        return {}
    scores, substitutes = artifacts.read_json(path), artifacts.read_json(record)["references"]
    found: dict[str, dict[str, float]] = {name: {} for names in AUTOMATIC.values() for name in names}
    for candidate, facts in candidates_of(concept, group).items():
        values = {name: (scores.get(name) or {}).get(facts.get("kind")) for name in found}
        if "version" in facts:
            values = human_scores.automatic(concept, facts["version"], scores["scorer"], list(found))
        elif facts["text"] != substitutes.get(facts["kind"], ""):
            continue  # the text in the word's place was another one
        for name, value in values.items():
            found[name] |= {} if value is None else {candidate: value}
    return found


def agreement(
    part: str,
    rankings: Mapping[str, Rankings],
    automatic: Mapping[str, Mapping[str, Mapping[str, float]]],
    mean: Callable[[Sequence[Agreement]], Interval | None],
) -> dict[str, dict[str, float | None] | None]:
    """Return the mean tau of all concepts' rankings in a part with each automatic score, and among raters."""
    compared = {
        name: [tau for concept, by_part in rankings.items() for tau in with_score(by_part[part], automatic[concept].get(name, {}))]
        for name in AUTOMATIC[part]
    }
    compared["raters"] = [tau for by_part in rankings.values() for tau in among_raters(by_part[part])]
    means = {name: mean(taus) for name, taus in compared.items()}
    return {name: value and rounded(value) for name, value in means.items()}
