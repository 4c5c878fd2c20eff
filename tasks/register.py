"""Publish a concept's learned embedding with its scores as a version of the MLflow model `concept.<key>`."""

from pathlib import Path
from typing import Any

import yaml
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks import artifacts, registry
from tasks.settings import Settings, tracking_uri
from tasks.stage import run_stage


@task(task_run_name="register-{concept}", cache_policy=NO_CACHE)
def register(concept: str, settings: Settings) -> Path:
    """Publish the learned embedding and return the record of its version; the same bytes are one version, however often.

    Raises:
        ValueError: the scores belong to another embedding, or the stored bytes are not those that were sent.
    """
    embedding = artifacts.learned_embeds(concept)
    train, scores = artifacts.read_json(artifacts.train_record(concept)), artifacts.read_json(artifacts.scores(concept))
    digest = artifacts.sha256(embedding)
    if scores["embedding_digest"] != digest:
        raise ValueError(f"{artifacts.scores(concept)} scores embedding {scores['embedding_digest']}, but {embedding} is {digest}; score it again")
    word, base = settings.concept(concept), train["base"]
    registry.connect(tracking_uri(settings))
    record = registry.publish(
        registry.model_name(concept),
        embedding,
        tags={
            "placeholder_token": word.placeholder_token,
            "initializer_token": word.initializer_token,
            "kind": word.kind,
            "reconstruction": str(scores["reconstruction"]["value"]),
            "editability": str(scores["editability"]["value"]),
            "base_model": base["model"],
            "base_revision": str(base["revision"]),
            "base_weights_sha256": str(base["weights_sha256"]),
            "scorer_weights_sha256": str(scores["scorer"]["weights_sha256"]),
        },
        metrics=headline(scores) | {"norm": train["norm"], "vocabulary_norm_median": train["vocabulary_norm_median"]},
        params=train["settings"] | {key: train[key] for key in ("method", "seed", "optimizer_steps", "stopped")},
        model_config={
            "base_model": base["model"],
            "base_location": str(Path(base["model"]).absolute()) if Path(base["model"]).is_dir() else None,
            "base_revision": base["revision"],
            "base_weights_sha256": base["weights_sha256"],
            "placeholder_token": word.placeholder_token,
        },
        pictures=picture_set(concept),
    )
    artifacts.write_json(artifacts.registered(concept), record)
    return artifacts.registered(concept)


def headline(scores: dict[str, Any]) -> dict[str, float]:
    """Return each score as `name`, and its interval and bounds as `name_low` and so on; a bound that is null is left out."""
    found = {name + ("" if key == "value" else f"_{key}"): value for name in ("reconstruction", "editability") for key, value in scores[name].items()}
    return {name: float(value) for name, value in found.items() if value is not None}


def picture_set(concept: str) -> dict[str, str] | None:
    """Return the picture set as an MLflow dataset: DVC's md5 where DVC tracks it, else the folder's digest; MLflow takes 36 characters."""
    folder = artifacts.images(concept)
    pointer = folder.with_name(f"{folder.name}.dvc")
    out = yaml.safe_load(pointer.read_text(encoding="utf-8"))["outs"][0] if pointer.exists() else {}
    if "md5" in out:
        return {"name": concept, "digest": out["md5"], "source_type": "dvc", "source": f'{{"uri": "{pointer.as_posix()}"}}'}
    if not folder.is_dir():  # pulled without its pictures: say nothing rather than the digest of nothing
        return None
    return {"name": concept, "digest": artifacts.folder_digest(folder)[:36], "source_type": "local", "source": f'{{"uri": "{folder.as_posix()}"}}'}


if __name__ == "__main__":
    run_stage(register.fn)
