"""Publish a concept's learned embedding with its scores as a version of the MLflow model `concept.<key>`."""

import tempfile
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks import artifacts
from tasks.concepts.rights import read_rights
from tasks.judging.sheets import draw_published
from tasks.pipeline.door import run_stage
from tasks.registry import connection, lifecycle, publishing
from tasks.registry.connection import tracking_uri
from tasks.registry.promotion import evidence, headline
from tasks.settings import Settings
from tasks.shipped import folder_of
from tasks.versions.origin import origin, picture_set, scored_on


@task(task_run_name="register-{concept}", cache_policy=NO_CACHE)
def register(concept: str, settings: Settings) -> Path:
    """Publish the learned embedding and return the path of its version's record; the same bytes are published as one version only.

    Raises:
        ValueError: the scores belong to another embedding, the stored bytes are not those that were sent, the concept is revoked, or its
            pictures are not tracked by DVC or have undeclared rights.
    """
    embedding = artifacts.learned_embeds(concept)
    train, scores, samples = map(artifacts.read_json, (artifacts.train_record(concept), artifacts.scores(concept), artifacts.samples_record(concept)))
    digest = artifacts.sha256(embedding)
    if scores["embedding_digest"] != digest:
        raise ValueError(f"{artifacts.scores(concept)} scores embedding {scores['embedding_digest']}, but {embedding} is {digest}; score it again")
    word, base, pictures, rights = settings.concept(concept), train["base"], picture_set(concept), read_rights(concept)
    connection.connect(tracking_uri(settings))
    with tempfile.TemporaryDirectory() as sheets:
        record = publishing.publish(
            concept,
            embedding,
            tags={
                "placeholder_token": word.placeholder_token,
                "initializer_token": train.get("coarse_word", word.initializer_token),
                "kind": word.kind,
                "base_model": base["model"],
                "base_revision": str(base["revision"]),
                **rights.tags(),
                **evidence(scores, samples, train["data_sha256"], scored_on(concept, train)),
            },
            origin=origin(concept),
            metrics=headline(scores) | {"norm": train["norm"], "vocabulary_norm_median": train["vocabulary_norm_median"]},
            params=train["settings"] | {key: train[key] for key in ("method", "seed", "optimizer_steps", "stopped")},
            model_config=model_config(word.placeholder_token, base, samples),
            manifest=artifacts.manifest(concept),
            pictures=pictures,
            rules=settings.register,
            sheets=draw_published(concept, artifacts.samples(concept), word.placeholder_token, Path(sheets)),
        )
    record |= lifecycle.settle(concept, record["version"], settings.register)
    artifacts.write_json(artifacts.registered(concept), record)
    return artifacts.registered(concept)


def model_config(placeholder_token: str, base: dict[str, Any], samples: dict[str, Any]) -> dict[str, Any]:
    """Return what a registered model needs to find its base model and to draw as its samples were drawn, without paths of this machine."""
    return {
        "base_model": base["model"],
        "base_is_folder": folder_of(base["model"]) is not None,
        "base_revision": base["revision"],
        "base_weights_sha256": base["weights_sha256"],
        "placeholder_token": placeholder_token,
        **{name: samples[name] for name in ("num_inference_steps", "guidance_scale")},
        "sampler": samples.get("sampler", "DDIM").lower(),
        **({"resolution": base["resolution"]} if "resolution" in base else {}),
    }


if __name__ == "__main__":
    run_stage(register.fn)
