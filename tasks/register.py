"""Publish a concept's learned embedding with its scores as a version of the MLflow model `concept.<key>`."""

import tempfile
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from tasks import artifacts, lifecycle, plots, publishing, registry, versioning
from tasks.promotion import evidence
from tasks.rights import read_rights
from tasks.settings import Settings, tracking_uri
from tasks.stage import run_stage

SHEET = 8  # pictures of a prompt that go with a version
SHEET_SIDE = 128  # px of each


@task(task_run_name="register-{concept}", cache_policy=NO_CACHE)
def register(concept: str, settings: Settings) -> Path:
    """Publish the learned embedding and return the record of its version; the same bytes are one version, however often.

    Raises:
        ValueError: the scores belong to another embedding, the stored bytes are not those that were sent, the concept is revoked, its
            pictures are not under DVC, or it is not said whose they are.
    """
    embedding = artifacts.learned_embeds(concept)
    train, scores, samples = map(artifacts.read_json, (artifacts.train_record(concept), artifacts.scores(concept), artifacts.samples_record(concept)))
    digest = artifacts.sha256(embedding)
    if scores["embedding_digest"] != digest:
        raise ValueError(f"{artifacts.scores(concept)} scores embedding {scores['embedding_digest']}, but {embedding} is {digest}; score it again")
    word, base, pictures, rights = settings.concept(concept), train["base"], picture_set(concept), read_rights(concept)
    registry.connect(tracking_uri(settings))
    registry.refuse_revoked(concept)
    with tempfile.TemporaryDirectory() as sheets:
        record = publishing.publish(
            registry.model_name(concept),
            embedding,
            tags={
                "placeholder_token": word.placeholder_token,
                "initializer_token": word.initializer_token,
                "kind": word.kind,
                "base_model": base["model"],
                "base_revision": str(base["revision"]),
                **rights.tags(),
                **evidence(scores, samples, train["data_sha256"], train["data_sha256"]),
            },
            origin=origin(concept),
            metrics=headline(scores) | {"norm": train["norm"], "vocabulary_norm_median": train["vocabulary_norm_median"]},
            params=train["settings"] | {key: train[key] for key in ("method", "seed", "optimizer_steps", "stopped")},
            model_config={
                "base_model": base["model"],
                "base_location": str(Path(base["model"]).absolute()) if Path(base["model"]).is_dir() else None,
                "base_revision": base["revision"],
                "base_weights_sha256": base["weights_sha256"],
                "placeholder_token": word.placeholder_token,
            },
            manifest=artifacts.manifest(concept),
            pictures=pictures,
            sheets=draw_sheets(artifacts.samples(concept), Path(sheets)),
        )
    record["aliases"] = lifecycle.settle(concept, record["version"], settings.register.promote)
    artifacts.write_json(artifacts.registered(concept), record)
    return artifacts.registered(concept)


def draw_sheets(samples: Path, folder: Path) -> Path:
    """Write one small picture per prompt of a samples folder, named by the prompt; a later `wordmint diff` has nothing else to show."""
    for prompt in artifacts.read_json(samples / "samples.json")["prompts"]:
        if paths := sorted((samples / "word" / prompt["slug"]).glob("*.png"))[:SHEET]:
            plots.sheet(paths, SHEET_SIDE).save(folder / f"{prompt['slug']}.webp", quality=85)
    return folder


def headline(scores: dict[str, Any]) -> dict[str, float]:
    """Return each score as `name`, and its interval and bounds as `name_low` and so on; a bound that is null is left out."""
    found = {name + ("" if key == "value" else f"_{key}"): value for name in ("reconstruction", "editability") for key, value in scores[name].items()}
    return {name: float(value) for name, value in found.items() if value is not None}


def picture_set(concept: str) -> dict[str, str]:
    """Return the picture set as an MLflow dataset: DVC's md5 has the 36 characters that MLflow takes.

    Raises:
        ValueError: DVC does not track it.
    """
    folder = artifacts.images(concept)
    md5 = versioning.recorded_md5(folder)
    if md5 is None:
        raise ValueError(f"{folder} is not under DVC, so nobody could find again what {concept!r} was made from; run `dvc add {folder}`")
    return {"name": concept, "digest": md5, "source_type": "dvc", "source": f'{{"uri": "{artifacts.pointer(folder).as_posix()}"}}'}


def origin(concept: str) -> dict[str, str]:
    """Return where a version comes from as tags: the state of Git, what DVC tracks, and the run that registers it."""
    commit, dirty = versioning.revision(concept)
    folders = {"dataset": artifacts.images(concept), "imported": artifacts.imported(concept)}
    tracked = {name: (folder, md5) for name, folder in folders.items() if (md5 := versioning.recorded_md5(folder))}
    return {
        **{f"{name}_path": artifacts.pointer(folder).as_posix() for name, (folder, _) in tracked.items()},
        **{f"{name}_digest": md5 for name, (_, md5) in tracked.items()},
        "git_revision": str(commit),
        "git_dirty": str(dirty),
        "flow_run": str(flow_run.id),
    }


if __name__ == "__main__":
    run_stage(register.fn)
