"""Publish a learned embedding as a version of `concept.<key>`, with its scores and where it came from."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import artifacts
from tasks.faults import point
from tasks.registry import connection, lifecycle, reading, writing
from tasks.registry.creating import create_version
from tasks.registry.curves import log_curves
from tasks.registry.database import put
from tasks.registry.description import NOTE, describe_run, describe_version, described_again
from tasks.registry.model_folder import save_folder
from tasks.registry.promotion import LAST
from tasks.settings import Register
from tasks.words.embedding_file import files_of

if TYPE_CHECKING:  # mlflow takes seconds to import, and stages that do not publish never need it
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion


MANIFEST = artifacts.manifest("").name  # its path among a run's artifacts
SEALED = "manifest_sha256"  # the origin tag that is written last; if a version has it, it has the others too


def publish(
    concept: str,
    embedding: Path,
    *,
    tags: Mapping[str, str],
    origin: Mapping[str, str],
    metrics: Mapping[str, float],
    params: Mapping[str, Any],
    model_config: Mapping[str, Any],
    manifest: Path,
    pictures: Mapping[str, str],
    rules: Register,
    sheets: Path | None = None,
) -> dict[str, Any]:
    """Publish a learned embedding as a version of a concept, or complete the version that has the same bytes already.

    If two machines publish the same bytes at once, the older version stays and the other is deleted. A version gets no alias here: it is
    complete before lifecycle.py gives it one.
    tags: tags that may change while the bytes stay, such as scores. origin: tags that never change; SEALED is added to them.
    model_config: the settings that registered_model.py reads. manifest: the record of the curated pictures. pictures: {name, digest of at
    most 36 characters, source_type, source}. sheets: a folder with one small picture of samples per prompt. Returns {name, version, digest}.

    Raises:
        ValueError: the concept is revoked, or the stored bytes are not those of `embedding`.
    """
    digest = artifacts.sha256(embedding)
    tags, origin = {**tags, "digest": digest}, {**origin, SEALED: artifacts.sha256(manifest)}
    with connection.one_writer():
        entry = reading.entry(concept)
        entry.refuse_revoked()
        if version := reading.find_version(concept, digest) if entry.newest else None:
            verify(location_of(version), embedding)
            if SEALED not in version.tags:  # it was published before lineage was kept
                seal(version, origin, manifest)
            update_scores(version, tags, metrics, sheets)
            number = int(version.version)
        else:
            model = log_concept(
                concept,
                embedding,
                tags=tags,
                params=params,
                metrics=metrics,
                model_config=model_config,
                manifest=manifest,
                pictures=pictures,
                sheets=sheets,
            )
            verify(str(model.artifact_location), embedding)
            point("model logged, not registered")
            number = create_version(entry, model, tags | origin | lifecycle.foreseen(entry, tags, rules), metrics)
    return {"name": connection.model_name(concept), "version": number, "digest": digest}


def log_concept(
    concept: str,
    embedding: Path,
    *,
    tags: Mapping[str, str],
    params: Mapping[str, Any],
    metrics: Mapping[str, float],
    model_config: Mapping[str, Any],
    manifest: Path,
    pictures: Mapping[str, str],
    sheets: Path | None,
) -> "LoggedModel":
    """Log one run with its model, scores, picture set, manifest and sample sheets; return the model. Nothing is registered yet."""
    import mlflow
    from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Param, RunTag

    client, name, who = mlflow.MlflowClient(), connection.model_name(concept), connection.who()
    run_id = client.create_run(experiment := connection.experiment_id(client), tags=who, run_name=name).info.run_id
    try:
        texts = {key: str(value) for key, value in params.items()}
        model = client.create_logged_model(experiment, name.replace(".", "-"), run_id, who, texts)  # MLflow allows no dot here
        with tempfile.TemporaryDirectory() as folder:
            save_folder(Path(folder) / "model", embedding, model_config, model)
            client.log_model_artifacts(model.model_id, str(Path(folder) / "model"))
        client.log_artifact(run_id, str(manifest))
        log_sheets(client, run_id, sheets)
        log_curves(client, run_id, embedding)
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
        put(client.log_inputs, run_id, [DatasetInput(Dataset(**pictures), [InputTag("mlflow.data.context", "training")])])
        texts |= {key: str(value) for key, value in model_config.items()}
        rows, note = [Param(*pair) for pair in texts.items()], RunTag(NOTE, describe_run(concept, tags, model.model_id, run_id))
        log_metrics(client, run_id, model.model_id, metrics, pictures, params=rows, tags=[note])
        client.finalize_logged_model(model.model_id, "READY")
    except BaseException:
        client.set_terminated(run_id, "FAILED")
        raise
    client.set_terminated(run_id)
    return model


def log_metrics(
    client: "MlflowClient",
    run_id: str,
    model_id: str,
    metrics: Mapping[str, float],
    pictures: Mapping[str, str] | None = None,
    **others: Any,
) -> None:
    """Log metrics on a LoggedModel, whose run shows them too, in one request with the run's `params` and `tags`."""
    from mlflow.entities import Metric
    from mlflow.utils.time import get_current_time_millis

    source = {"dataset_name": pictures["name"], "dataset_digest": pictures["digest"]} if pictures else {}
    now = get_current_time_millis()
    rows = [Metric(key, value, now, 0, model_id=model_id, run_id=run_id, **source) for key, value in metrics.items()]
    client.log_batch(run_id, metrics=rows, **others)


def log_sheets(client: "MlflowClient", run_id: str, sheets: Path | None) -> None:
    if sheets and any(sheets.iterdir()):
        client.log_artifacts(run_id, str(sheets))


def seal(version: "ModelVersion", origin: Mapping[str, str], manifest: Path) -> None:
    """Write the origin of a version, which never changes afterwards."""
    import mlflow

    client = mlflow.MlflowClient()
    client.log_artifact(str(client.get_logged_model(reading.model_id(version)).source_run_id), str(manifest))
    for key, value in origin.items():
        put(client.set_model_version_tag, version.name, version.version, key, value)


def kept_manifest(concept: str, number: int, folder: Path) -> Path:
    """Download the manifest of a version's curated pictures to a folder and return its path.

    Raises:
        ValueError: the manifest is gone.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    client = mlflow.MlflowClient()
    model = client.get_logged_model(reading.model_id(client.get_model_version(connection.model_name(concept), str(number))))
    try:
        return Path(client.download_artifacts(str(model.source_run_id), MANIFEST, str(folder)))
    except (MlflowException, OSError) as error:
        raise ValueError(f"{MANIFEST} is gone from the version's run {model.source_run_id}") from error


def location_of(version: "ModelVersion") -> str:
    """Return where the files of a version lie."""
    import mlflow

    return str(mlflow.MlflowClient().get_logged_model(reading.model_id(version)).artifact_location)


def verify(location: str, embedding: Path) -> None:
    """Download the learned embedding of a logged model and compare it with the file that was published.

    Raises:
        ValueError: the two differ, or the stored one is gone.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as folder:
        try:
            path = Path(mlflow.artifacts.download_artifacts(f"{location}/{Path(reading.STORED).parent}", dst_path=folder)) / Path(reading.STORED).name
            stored = artifacts.sha256(path)
        except (MlflowException, OSError) as error:
            raise ValueError(f"{reading.STORED} is gone from {location}; delete the versions that use it and register again") from error
        if stored != artifacts.sha256(embedding):
            raise ValueError(f"{embedding} reads back from {location} with SHA-256 {stored}; delete the versions that use it and register again")
        files_of(path)


def update_scores(version: "ModelVersion", tags: Mapping[str, str], metrics: Mapping[str, float], sheets: Path | None = None) -> None:
    """Write new scores on a version, if they differ from its present ones.

    An alias may reach the version meanwhile. Tags change one by one, so LAST is emptied first and set last: half of them are no evidence.
    """
    import mlflow

    client = mlflow.MlflowClient()
    changed = {key: value for key, value in tags.items() if version.tags.get(key, "") != value}
    if not changed:
        return
    model_id = reading.model_id(version)
    run_id = str(client.get_logged_model(model_id).source_run_id)
    log_sheets(client, run_id, sheets)
    log_metrics(client, run_id, model_id, metrics)
    now = describe_version(version.name.removeprefix(connection.PREFIX), {**version.tags, **tags}, metrics, model_id, run_id)
    client.update_model_version(version.name, version.version, described_again(version.description, now))
    for key, value in [(LAST, ""), *((key, value) for key, value in changed.items() if key != LAST), (LAST, tags[LAST])]:
        put(client.set_model_version_tag, version.name, version.version, key, value)
        point("one score written, the next not")


def rescored(concept: str, number: int, tags: Mapping[str, str], metrics: Mapping[str, float], sheets: Path) -> None:
    """Write new scores on a version, and a line into the concept's history."""
    import mlflow

    with connection.one_writer():
        writing.add_event(reading.entry(concept), event="rescore", version=number, numbers=dict(metrics), reason=f"scorer {tags['scorer_model']}")
        update_scores(mlflow.MlflowClient().get_model_version(connection.model_name(concept), str(number)), tags, metrics, sheets)
