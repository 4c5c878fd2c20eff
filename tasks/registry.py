"""What is published: one MLflow model `concept.<key>` per concept; the only module that talks to MLflow."""

import io
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from tasks import artifacts

if TYPE_CHECKING:  # mlflow takes seconds to import, and stages that do not publish never need it
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature

EXPERIMENT = "wordmint"
PREFIX = "concept."
CHAMPION, CHALLENGER = "champion", "challenger"
STORED = "artifacts/learned_embeds.safetensors"  # below a model's place
PAGE = 1000  # rows per request
RUNS_ON = ("mlflow", "torch", "diffusers", "transformers", "safetensors")


def model_name(concept: str) -> str:
    return f"{PREFIX}{concept}"


def connect(uri: str) -> None:
    """Make `uri` the tracking server and registry of this process; a SQLite database that does not exist yet is made.

    Raises:
        ConnectionError: MLflow refuses the address or nothing answers there.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # 14 s; MLflow's own 7 take four minutes to say that nothing answers
    kept = {name: os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")}
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    for name, value in kept.items():  # MLflow exports the addresses, which would then overrule params.yaml for good
        os.environ.pop(name, None)
        os.environ.update({name: value} if value is not None else {})
    database = sqlite_file(uri)
    try:
        with one_writer(uri):
            if database and not database.exists():
                create_database(database)
            experiment_id(mlflow.MlflowClient(), (database.parent / "artifacts").as_uri() if database else None)
    except MlflowException as error:  # its text can hold the address and so a password; the cause keeps it
        raise ConnectionError("MLflow cannot be used at MLFLOW_TRACKING_URI or runtime.tracking_uri; WORDMINT_TRACEBACK=1 shows why") from error


def sqlite_file(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")).absolute() if uri.startswith("sqlite:///") else None


def exists(uri: str) -> bool:
    """Say whether there is anything to read at `uri`; a server is taken at its word."""
    database = sqlite_file(uri)
    return database is None or database.exists()


@contextmanager
def one_writer(uri: str) -> Iterator[None]:
    """Hold the lock that processes of this machine share; MLflow itself does not stop two from registering the same thing."""
    database = sqlite_file(uri)
    path = database.with_name(f".{database.name}.lock") if database else artifacts.CACHE / "registry.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield


def create_database(path: Path) -> None:
    """Migrate a new database under a temporary name, then move it into place: a killed migration cannot be resumed."""
    from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine_with_retry

    temporary = path.with_name(f".{path.name}.tmp")
    for suffix in ("", "-wal", "-shm", "-journal"):
        temporary.with_name(temporary.name + suffix).unlink(missing_ok=True)
    for name in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)  # else a line for each of dozens of migrations
    engine = create_sqlalchemy_engine_with_retry(f"sqlite:///{temporary}")
    _initialize_tables(engine)
    engine.dispose()
    os.replace(temporary, path)


def experiment_id(client: "MlflowClient", artifact_location: str | None = None) -> str:
    """Return the id of wordmint's experiment, which is made when it is not there; None leaves the place of its artifacts to the server."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    return experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT, artifact_location=artifact_location)


def find_version(name: str, digest: str) -> int | None:
    """Return the oldest version of a model whose learned embedding has this SHA-256."""
    import mlflow

    found = pages(mlflow.MlflowClient().search_model_versions, f"name = '{name}' and tags.digest = '{digest}'")
    return min((int(version.version) for version in found), default=None)


def publish(
    name: str,
    embedding: Path,
    *,
    tags: Mapping[str, str],
    metrics: Mapping[str, float],
    params: Mapping[str, Any],
    model_config: Mapping[str, Any],
    pictures: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Publish a learned embedding as a version of `name`, or complete the version that has the same bytes already.

    The alias comes last, so what an alias reaches is whole; the first version becomes champion and later ones challenger.
    model_config: what registered_model.py reads. pictures: {name, digest of at most 36 characters, source_type, source} or None.
    Returns {name, version, digest, aliases}.

    Raises:
        ValueError: the stored bytes are not those of `embedding`.
    """
    import mlflow

    client = mlflow.MlflowClient()
    digest = artifacts.sha256(embedding)
    tags = {**tags, "digest": digest}
    with one_writer(mlflow.get_tracking_uri()):
        number = find_version(name, digest)
        if number is None:
            model_id = log_concept(name, embedding, params=params, metrics=metrics, model_config=model_config, pictures=pictures)
            verify(model_id, embedding)
            # The tags are created with the version, so one with a digest is never half described.
            with redirect_stderr(io.StringIO()):  # it announces every version there, across a build's progress
                number = int(mlflow.register_model(f"models:/{model_id}", name, tags=tags).version)
        else:
            version = client.get_model_version(name, str(number))
            model_id = str(version.source).removeprefix("models:/")
            verify(model_id, embedding)
            update_scores(client, version, model_id, tags, metrics)
        aliases = ensure_alias(client, name, number)
    return {"name": name, "version": number, "digest": digest, "aliases": aliases}


def log_concept(
    name: str,
    embedding: Path,
    *,
    params: Mapping[str, Any],
    metrics: Mapping[str, float],
    model_config: Mapping[str, Any],
    pictures: Mapping[str, str] | None,
) -> str:
    """Log one run with its model, scores and picture set and return the model's id; nothing is registered yet."""
    import mlflow
    from mlflow.entities import Dataset, DatasetInput, InputTag

    client = mlflow.MlflowClient()
    # An example would make MLflow load the base model and draw a picture while it publishes.
    warnings.filterwarnings("ignore", message=r".*An input example was not provided")
    with mlflow.start_run(experiment_id=experiment_id(client), run_name=name) as run:
        if pictures:
            client.log_inputs(run.info.run_id, [DatasetInput(Dataset(**pictures), [InputTag("mlflow.data.context", "training")])])
        mlflow.log_params(dict(params))  # MLflow copies a run's params to its models
        model = mlflow.pyfunc.log_model(
            name=name.replace(".", "-"),  # MLflow allows no dot here
            python_model=str(Path(__file__).with_name("registered_model.py")),
            artifacts={"learned_embeds": str(embedding)},
            model_config=dict(model_config),
            pip_requirements=[f"{package}=={installed_version(package).split('+')[0]}" for package in RUNS_ON],
            signature=signature(),
        )
        log_metrics(client, run.info.run_id, model.model_id, metrics, pictures)
    return model.model_id


def log_metrics(client: "MlflowClient", run_id: str, model_id: str, metrics: Mapping[str, float], pictures: Mapping[str, str] | None = None) -> None:
    """Log metrics on a LoggedModel, where they live; the run shows the same."""
    from mlflow.entities import Metric
    from mlflow.utils.time import get_current_time_millis

    source = {"dataset_name": pictures["name"], "dataset_digest": pictures["digest"]} if pictures else {}
    now = get_current_time_millis()
    client.log_batch(run_id, metrics=[Metric(key, value, now, 0, model_id=model_id, run_id=run_id, **source) for key, value in metrics.items()])


def signature() -> "ModelSignature":
    """Return prompts in, PNG bytes out; the column has no name so that a plain list of prompts passes too."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    from tasks.registered_model import DEFAULTS

    kinds = {int: "long", float: "double"}
    parameters = ParamSchema([ParamSpec(key, kinds[type(value)], value) for key, value in DEFAULTS.items()])
    return ModelSignature(inputs=Schema([ColSpec("string")]), outputs=Schema([ColSpec("binary")]), params=parameters)


def verify(model_id: str, embedding: Path) -> None:
    """Download a LoggedModel's learned embedding and compare it with the file that was published.

    Raises:
        ValueError: they differ, or the stored one is gone.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    place = mlflow.get_logged_model(model_id).artifact_location
    with tempfile.TemporaryDirectory() as folder:
        try:
            stored = artifacts.sha256(Path(mlflow.artifacts.download_artifacts(f"{place}/{STORED}", dst_path=folder)))
        except (MlflowException, OSError) as error:
            raise ValueError(f"{STORED} is gone from {place}; delete the versions that use it and register again") from error
    if stored != artifacts.sha256(embedding):
        raise ValueError(f"{embedding} reads back from {place} with SHA-256 {stored}; delete the versions that use it and register again")


def update_scores(client: "MlflowClient", version: "ModelVersion", model_id: str, tags: Mapping[str, str], metrics: Mapping[str, float]) -> None:
    """Bring a version up to date whose embedding is the same but was scored again."""
    changed = {key: value for key, value in tags.items() if version.tags.get(key) != value}
    if changed:
        log_metrics(client, str(client.get_logged_model(model_id).source_run_id), model_id, metrics)
    for key, value in changed.items():
        client.set_model_version_tag(version.name, version.version, key, value)


def ensure_alias(client: "MlflowClient", name: str, version: int) -> list[str]:
    """Give a version that no alias reaches its first one and return all it has, sorted."""
    taken = {alias: int(number) for alias, number in client.get_registered_model(name).aliases.items()}
    if version not in taken.values():
        alias = CHALLENGER if CHAMPION in taken else CHAMPION
        client.set_registered_model_alias(name, alias, str(version))
        taken[alias] = version
    return sorted(alias for alias, number in taken.items() if number == version)


def catalog() -> list[dict[str, Any]]:
    """Return what every alias of every concept reaches, sorted by concept and version."""
    return [row for row in rows(f"name LIKE '{PREFIX}%'") if row["alias"]]


def versions(concept: str) -> list[dict[str, Any]]:
    """Return every version of a concept, oldest first; one that no alias reaches has the alias None."""
    return rows(f"name = '{model_name(concept)}'")


def rows(models: str) -> list[dict[str, Any]]:
    """Return {concept, placeholder_token, version, alias, reconstruction, editability} per version and alias of the models of a filter."""
    import mlflow

    client = mlflow.MlflowClient()
    aliases: dict[tuple[str, int], list[str]] = {}
    for model in pages(client.search_registered_models, models):
        for alias, number in sorted(model.aliases.items()):
            aliases.setdefault((model.name, int(number)), []).append(alias)
    found = []
    minted = (version for version in pages(client.search_model_versions, models) if "digest" in version.tags)  # others were not published here
    for version in sorted(minted, key=lambda version: (version.name, int(version.version))):
        for alias in aliases.get((version.name, int(version.version)), [None]):
            found.append(
                {
                    "concept": version.name.removeprefix(PREFIX),
                    "placeholder_token": version.tags["placeholder_token"],
                    "version": int(version.version),
                    "alias": alias,
                    "reconstruction": float(version.tags["reconstruction"]),
                    "editability": float(version.tags["editability"]),
                }
            )
    return found


def champion(concept: str) -> tuple[Path, dict[str, str]]:
    """Return the local path of the learned embedding that a concept's champion holds, and the version's tags.

    Raises:
        ValueError: the concept has no champion, or the stored bytes are not those that were registered.
    """
    return published(concept, CHAMPION)


def pages(search: Any, condition: str) -> Iterator[Any]:
    """Yield every result of one of MLflow's searches."""
    token = None
    while True:
        page = search(condition, max_results=PAGE, page_token=token)
        yield from page
        if not (token := page.token):
            return


def published(concept: str, which: str) -> tuple[Path, dict[str, str]]:
    """Return what `champion` does, of the version that an alias or `v3` names; the errors are the same."""
    import mlflow
    from mlflow.exceptions import MlflowException

    name, client = model_name(concept), mlflow.MlflowClient()
    try:
        is_number = which.startswith("v") and which[1:].isdecimal()
        version = client.get_model_version(name, which[1:]) if is_number else client.get_model_version_by_alias(name, which)
    except MlflowException as error:
        raise ValueError(f"concept {concept!r} has no {which} in {EXPERIMENT}'s registry; register it first") from error
    path = Path(mlflow.artifacts.download_artifacts(f"models:/{name}/{version.version}/{STORED}"))
    if (stored := artifacts.sha256(path)) != version.tags.get("digest"):
        raise ValueError(f"{name} version {version.version} was registered with SHA-256 {version.tags.get('digest')}, but {path} has {stored}")
    return path, dict(version.tags)
