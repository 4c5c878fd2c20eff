"""People's scores on a version, and the automatic scores that they are compared with."""

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.registry import connection, publishing, reading, writing
from tasks.registry.promotion import LAST, NO_JUDGE, judge_of_fidelity, score_record

RATERS = "raters"  # a tag: how many raters the numbers are from


def check_version(concept: str, number: int, digest: str) -> None:
    """Check that a version is the one that raters saw.

    Raises:
        ValueError: the registry's version of this number is another word.
    """
    if (present := reading.tags(concept, number).get("digest")) != digest:
        raise ValueError(f"{concept} v{number} has digest {present}, but raters saw {digest:.12}; the questionnaire was made with another MLflow")


def write(concept: str, number: int, scores: Mapping[str, Mapping[str, float | None]], raters: int) -> None:
    """Write people's scores on a version, as metrics and tags, and a line into the concept's history, unless the version has them already.

    scores: metric -> {value, low, high}; the ends are written as `metric_low` and `metric_high`, unless they are None.
    """
    import mlflow

    ends = {"value": "", "low": "_low", "high": "_high"}
    numbers = {name + ends[key]: value for name, score in scores.items() for key, value in score.items()}
    metrics = {key: value for key, value in numbers.items() if value is not None}
    tags = {key: None if value is None else str(value) for key, value in numbers.items()} | {RATERS: str(raters)}
    client = mlflow.MlflowClient()
    with connection.one_writer():
        version = client.get_model_version(connection.model_name(concept), str(number))
        changed = {key: value for key, value in tags.items() if version.tags.get(key) != value}
        if not changed:
            return
        model_id = reading.model_id(version)
        publishing.log_metrics(client, str(client.get_logged_model(model_id).source_run_id), model_id, metrics)
        client.set_logged_model_tags(model_id, {RATERS: str(raters)})
        said = [f"{name} {score['value']:.3f}" for name, score in scores.items()] + [f"{raters} rater{'' if raters == 1 else 's'}"]
        writing.add_event(reading.entry(concept), event="answers", version=number, numbers=metrics, reason=", ".join(said))
        writing.set_tags(concept, number, changed)


def automatic(concept: str, number: int, scorer: Mapping[str, Any], names: Sequence[str]) -> dict[str, float | None]:
    """Return the scores of a version; all are None if other judges or other prompts gave them."""
    tags = reading.tags(concept, number)
    judges = {"scorer_weights_sha256": scorer["weights_sha256"], "fidelity_judge": judge_of_fidelity(scorer), LAST: scorer["prompt_suite"]}
    scores = score_record(number, tags).scores if all(tags.get(name, NO_JUDGE) == judge for name, judge in judges.items()) else {}
    return {name: scores[name].value if name in scores else None for name in names}
