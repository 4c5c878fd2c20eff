"""Publish a learned embedding as a version of `concept.<key>`, with its scores and where it came from."""

import hashlib
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import redirect_stderr
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import artifacts
from tasks.faults import point
from tasks.registry import connection, reading, writing
from tasks.registry.curves import log_curves
from tasks.registry.database import put
from tasks.registry.promotion import LAST
from tasks.words.embedding_file import files_of, layers_in

if TYPE_CHECKING:  # mlflow takes seconds to import, and stages that do not publish never need it
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature


STUDY = "wordmint-study"
MANIFEST = artifacts.manifest("").name  # its path among a run's artifacts
SEALED = "manifest_sha256"  # the origin tag that is written last; if a version has it, it has the others too
RUNS_ON = ("mlflow", "torch", "diffusers", "transformers", "safetensors")


def publish(
    name: str,
    embedding: Path,
    *,
    tags: Mapping[str, str],
    origin: Mapping[str, str],
    metrics: Mapping[str, float],
    params: Mapping[str, Any],
    model_config: Mapping[str, Any],
    manifest: Path,
    pictures: Mapping[str, str],
    sheets: Path | None = None,
) -> dict[str, Any]:
    """Publish a learned embedding as a version of `name`, or complete the version that has the same bytes already.

    If two machines publish the same bytes at once, the older version stays and the other is deleted. A version gets no alias here: it is
    complete before lifecycle.py gives it one.
    tags: tags that may change while the bytes stay, such as scores. origin: tags that never change; SEALED is added to them.
    model_config: the settings that registered_model.py reads. manifest: the record of the curated pictures. pictures: {name, digest of at
    most 36 characters, source_type, source}. sheets: a folder with one small picture of samples per prompt. Returns {name, version, digest}.

    Raises:
        ValueError: the stored bytes are not those of `embedding`.
    """
    import mlflow

    digest = artifacts.sha256(embedding)
    tags, origin = {**tags, "digest": digest}, {**origin, SEALED: artifacts.sha256(manifest)}
    with connection.one_writer():
        number = reading.find_version(name, digest)
        if number is None:
            model_id = log_concept(
                name, embedding, params=params, metrics=metrics, model_config=model_config, manifest=manifest, pictures=pictures, sheets=sheets
            )
            verify(model_id, embedding)
            point("model logged, not registered")
            # The tags are created with the version, so a version with a digest has them all.
            with redirect_stderr(io.StringIO()):  # MLflow announces every version on stderr, across a build's progress bar
                written = {key: value for key, value in (tags | origin).items() if value}  # an empty one stands for a score that is not measured
                created = int(mlflow.register_model(f"models:/{model_id}", name, tags=written).version)
            point("version created, no alias")
            number = reading.find_version(name, digest) or created
            if number != created:
                mlflow.MlflowClient().delete_model_version(name, str(created))
        else:
            version = mlflow.MlflowClient().get_model_version(name, str(number))
            verify(reading.model_id(version), embedding)
            if SEALED not in version.tags:  # it was published before lineage was kept
                seal(version, origin, manifest)
            update_scores(version, tags, metrics, sheets)
    return {"name": name, "version": number, "digest": digest}


ADAPTER_CODE = Path(__file__).with_name("registered_adapter.py")


def log_concept(
    name: str,
    embedding: Path,
    *,
    params: Mapping[str, Any],
    metrics: Mapping[str, float],
    model_config: Mapping[str, Any],
    manifest: Path,
    pictures: Mapping[str, str],
    sheets: Path | None,
) -> str:
    """Log one run with its model, scores, picture set, manifest and sample sheets; return the model's id. Nothing is registered yet."""
    import mlflow
    from mlflow.entities import Dataset, DatasetInput, InputTag

    client, files = mlflow.MlflowClient(), files_of(embedding)
    # With an example, MLflow would load the base model and draw a picture while it publishes.
    warnings.filterwarnings("ignore", message=r".*An input example was not provided")
    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)  # it warns for every version that uv's environment has no pip
    with mlflow.start_run(experiment_id=connection.experiment_id(client), run_name=name, tags=connection.who()) as run:
        datasets = [DatasetInput(Dataset(**pictures), [InputTag("mlflow.data.context", "training")])]
        put(client.log_inputs, run.info.run_id, datasets)
        mlflow.log_params(dict(params))  # MLflow copies a run's params to its models
        model = mlflow.pyfunc.log_model(
            name=name.replace(".", "-"),  # MLflow allows no dot here
            python_model=str(Path(__file__).with_name("registered_model.py")),
            artifacts={path.stem: str(path) for path in (*files, *([ADAPTER_CODE] if len(files) > 1 or layers_in(embedding) > 1 else []))},
            model_config=dict(model_config),
            pip_requirements=[f"{package}=={package_version(package).split('+')[0]}" for package in RUNS_ON],
            signature=signature(model_config),
            tags=connection.who(),
        )
        log_metrics(client, run.info.run_id, model.model_id, metrics, pictures)
        log_sheets(client, run.info.run_id, sheets)
        log_curves(client, run.info.run_id, embedding)
        client.log_artifact(run.info.run_id, str(manifest))
    return model.model_id


def log_metrics(client: "MlflowClient", run_id: str, model_id: str, metrics: Mapping[str, float], pictures: Mapping[str, str] | None = None) -> None:
    """Log metrics on a LoggedModel; its run shows them too."""
    from mlflow.entities import Metric
    from mlflow.utils.time import get_current_time_millis

    source = {"dataset_name": pictures["name"], "dataset_digest": pictures["digest"]} if pictures else {}
    now = get_current_time_millis()
    client.log_batch(run_id, metrics=[Metric(key, value, now, 0, model_id=model_id, run_id=run_id, **source) for key, value in metrics.items()])


def log_sheets(client: "MlflowClient", run_id: str, sheets: Path | None) -> None:
    if sheets and any(sheets.iterdir()):
        client.log_artifacts(run_id, str(sheets), reading.SHEETS)


def log_cells(numbers: Mapping[str, Mapping[str, float]]) -> None:
    """Log each cell of a study as a run of the experiment `wordmint-study`, unless it has a run with the same numbers. Registers nothing."""
    import mlflow

    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name(STUDY)
    experiment_id = experiment.experiment_id if experiment else client.create_experiment(STUDY)
    logged = {run.data.tags.get("digest") for run in client.search_runs([experiment_id], max_results=50_000)}
    for cell, metrics in numbers.items():
        digest = hashlib.sha256(json.dumps([cell, metrics], sort_keys=True).encode()).hexdigest()
        if digest not in logged:
            with mlflow.start_run(experiment_id=experiment_id, run_name=cell, tags={"digest": digest, **connection.who()}):
                mlflow.log_metrics(dict(metrics))


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


def signature(model_config: Mapping[str, Any]) -> "ModelSignature":
    """Return a signature with prompts in and PNG bytes out; the column has no name so that a plain list of prompts passes too.

    The defaults of its parameters are the settings that the version was sampled with.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    from tasks.registry.registered_model import defaults_of

    kinds = {int: "long", float: "double"}
    parameters = ParamSchema([ParamSpec(key, kinds[type(value)], value) for key, value in defaults_of(model_config).items()])
    return ModelSignature(inputs=Schema([ColSpec("string")]), outputs=Schema([ColSpec("binary")]), params=parameters)


def verify(model_id: str, embedding: Path) -> None:
    """Download a LoggedModel's learned embedding and compare it with the file that was published.

    Raises:
        ValueError: the two differ, or the stored one is gone.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    location = mlflow.get_logged_model(model_id).artifact_location
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
    run_id = str(client.get_logged_model(reading.model_id(version)).source_run_id)
    log_sheets(client, run_id, sheets)
    log_metrics(client, run_id, reading.model_id(version), metrics)
    for key, value in [(LAST, ""), *((key, value) for key, value in changed.items() if key != LAST), (LAST, tags[LAST])]:
        put(client.set_model_version_tag, version.name, version.version, key, value)
        point("one score written, the next not")


def rescored(concept: str, number: int, tags: Mapping[str, str], metrics: Mapping[str, float], sheets: Path) -> None:
    """Write new scores on a version, and a line into the concept's history."""
    import mlflow

    with connection.one_writer():
        writing.add_event(concept, event="rescore", version=number, numbers=dict(metrics), reason=f"scorer {tags['scorer_model']}")
        update_scores(mlflow.MlflowClient().get_model_version(connection.model_name(concept), str(number)), tags, metrics, sheets)
