"""What is published: one MLflow model `concept.<key>` per concept. The connection, every reading, and the small writes of aliases and tags.

With publishing.py, which writes versions, and database.py, which makes a new database, the only module that talks to MLflow.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from tasks import artifacts
from tasks.database import create_database, put

if TYPE_CHECKING:  # mlflow takes seconds to import, and stages that do not publish never need it
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

EXPERIMENT = "wordmint"
PREFIX = "concept."
CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
STORED = "artifacts/learned_embeds.safetensors"  # below a model's place
SHEETS = "samples"  # below a run's place
HISTORY = "history."  # of a model's tags; the rest of the key is the moment
REVOKED = "revoked"  # a tag of a model and of its versions
PAGE = 1000  # rows per request
REFUSALS = {
    401: "MLflow does not know this user; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    403: "MLflow does not let this user write; its administrator can, as docs/team.md says",
}


def model_name(concept: str) -> str:
    return f"{PREFIX}{concept}"


def connect(uri: str) -> None:
    """Make `uri` the tracking server and registry of this process; a SQLite database that does not exist yet is made. Raises as `one_writer`."""
    import mlflow

    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # 14 s; MLflow's own 7 take four minutes to say that nothing answers
    kept = {name: os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")}
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    for name, value in kept.items():  # MLflow exports the addresses, which would then overrule params.yaml for good
        os.environ.pop(name, None)
        os.environ.update({name: value} if value is not None else {})
    database = sqlite_file(uri)
    with one_writer():
        if database and not database.exists():
            create_database(database)
        experiment_id(mlflow.MlflowClient(), (database.parent / "artifacts").as_uri() if database else None)


def sqlite_file(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")).absolute() if uri.startswith("sqlite:///") else None


def exists(uri: str) -> bool:
    """Say whether there is anything to read at `uri`; a server is taken at its word."""
    database = sqlite_file(uri)
    return database is None or database.exists()


@contextmanager
def one_writer() -> Iterator[None]:
    """Hold the lock that processes of this machine share; MLflow itself does not stop two from registering the same thing.

    Raises:
        PermissionError: the server does not know the user, or does not let them do what the block does.
        ConnectionError: MLflow refuses the address, or anything else, or nothing answers there.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    database = sqlite_file(mlflow.get_tracking_uri())
    path = database.with_name(f".{database.name}.lock") if database else artifacts.CACHE / "registry.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path):
            yield
    except MlflowException as error:  # its text can hold the address and so a password; the cause keeps it
        if said := REFUSALS.get(error.get_http_status_code()):
            raise PermissionError(said) from error
        raise ConnectionError("MLflow cannot be used at MLFLOW_TRACKING_URI or runtime.tracking_uri; WORDMINT_TRACEBACK=1 shows why") from error


def experiment_id(client: "MlflowClient", artifact_location: str | None = None) -> str:
    """Return the id of wordmint's experiment, which is made when it is not there; None leaves the place of its artifacts to the server."""
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(EXPERIMENT)
    try:
        return experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT, artifact_location=artifact_location)
    except MlflowException:
        if experiment := client.get_experiment_by_name(EXPERIMENT):  # another machine made it meanwhile
            return experiment.experiment_id
        raise


def find_version(name: str, digest: str) -> int | None:
    """Return the oldest version of a model whose learned embedding has this SHA-256."""
    import mlflow

    found = pages(mlflow.MlflowClient().search_model_versions, f"name = '{name}' and tags.digest = '{digest}'")
    return min((int(version.version) for version in found), default=None)


def find_model(concept: str) -> "RegisteredModel | None":
    import mlflow

    return next(pages(mlflow.MlflowClient().search_registered_models, f"name = '{model_name(concept)}'"), None)


def aliases(concept: str) -> dict[str, int]:
    """Return the version that each alias of a concept reaches."""
    model = find_model(concept)
    return {alias: int(number) for alias, number in sorted(model.aliases.items())} if model else {}


def set_alias(concept: str, alias: str, version: int) -> None:
    import mlflow

    put(mlflow.MlflowClient().set_registered_model_alias, model_name(concept), alias, str(version))


def drop_alias(concept: str, alias: str) -> None:
    import mlflow

    mlflow.MlflowClient().delete_registered_model_alias(model_name(concept), alias)


def tags(concept: str, version: int) -> dict[str, str]:
    import mlflow

    return dict(mlflow.MlflowClient().get_model_version(model_name(concept), str(version)).tags)


def set_tags(concept: str, version: int, values: Mapping[str, str | None]) -> None:
    """Set tags of a version one after the other; None deletes one."""
    import mlflow

    client, name = mlflow.MlflowClient(), model_name(concept)
    for key, value in values.items():
        if value is None:
            client.delete_model_version_tag(name, str(version), key)
        else:
            put(client.set_model_version_tag, name, str(version), key, value)


def revocation(concept: str) -> dict[str, Any] | None:
    """Return {at, why, aliases} of a revoked concept, where `aliases` are those that were taken from it."""
    model = find_model(concept)
    return json.loads(model.tags[REVOKED]) if model and REVOKED in model.tags else None


def set_revocation(concept: str, value: Mapping[str, Any] | None) -> None:
    """Mark a concept as revoked; None lifts it."""
    import mlflow

    client, name = mlflow.MlflowClient(), model_name(concept)
    if value is None:
        client.delete_registered_model_tag(name, REVOKED)
    else:
        put(client.set_registered_model_tag, name, REVOKED, json.dumps(value))


def revoked() -> dict[str, str]:
    """Return why, for each concept that is revoked."""
    import mlflow

    models = pages(mlflow.MlflowClient().search_registered_models, f"name LIKE '{PREFIX}%'")
    return {model.name.removeprefix(PREFIX): json.loads(model.tags[REVOKED])["why"] for model in models if REVOKED in model.tags}


def add_event(concept: str, **event: Any) -> None:
    """Write one line of a concept's history: a tag of its model, named by the moment."""
    import mlflow

    now = datetime.now(UTC)
    line = json.dumps({"at": now.isoformat(timespec="seconds"), **event}, ensure_ascii=False)
    mlflow.MlflowClient().set_registered_model_tag(model_name(concept), f"{HISTORY}{now:%Y%m%dT%H%M%S.%fZ}", line)


def events(concept: str) -> list[dict[str, Any]]:
    """Return the lines of a concept's history, oldest first."""
    model = find_model(concept)
    return [json.loads(line) for key, line in sorted(model.tags.items()) if key.startswith(HISTORY)] if model else []


def moment(milliseconds: int) -> str:
    """Return MLflow's time as ISO 8601 in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")


def described(concept: str) -> list[dict[str, Any]]:
    """Return {version, created, aliases, tags} of every version of a concept, oldest first."""
    found, reached = [], aliases(concept)
    for version in minted(f"name = '{model_name(concept)}'"):
        number = int(version.version)
        names = [alias for alias, target in reached.items() if target == number]
        found.append({"version": number, "created": moment(version.creation_timestamp), "aliases": names, "tags": dict(version.tags)})
    return found


def minted(models: str) -> list["ModelVersion"]:
    """Return the versions that were published here of the models of a filter, sorted by model and version."""
    import mlflow

    found = pages(mlflow.MlflowClient().search_model_versions, models)
    return sorted((version for version in found if "digest" in version.tags), key=lambda version: (version.name, int(version.version)))


def catalog() -> list[dict[str, Any]]:
    """Return what every alias of every concept reaches, sorted by concept and version."""
    return [row for row in rows(f"name LIKE '{PREFIX}%'") if row["alias"]]


def versions(concept: str) -> list[dict[str, Any]]:
    """Return every version of a concept, oldest first; one that no alias reaches has the alias None."""
    return rows(f"name = '{model_name(concept)}'")


def rows(models: str) -> list[dict[str, Any]]:
    """Return {concept, placeholder_token, version, alias, reconstruction, editability} per version and alias of the models of a filter."""
    import mlflow

    reached: dict[tuple[str, int], list[str]] = {}
    for model in pages(mlflow.MlflowClient().search_registered_models, models):
        for alias, number in sorted(model.aliases.items()):
            reached.setdefault((model.name, int(number)), []).append(alias)
    found = []
    for version in minted(models):
        for alias in reached.get((version.name, int(version.version)), [None]):
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


def refuse_revoked(concept: str) -> None:
    """Raise a ValueError that says why, if a concept is revoked."""
    if gone := revocation(concept):
        raise ValueError(f"concept {concept!r} was revoked on {gone['at'][:10]}: {gone['why']}; `wordmint reinstate {concept}` brings it back")


def published(concept: str, which: str = CHAMPION) -> tuple[Path, dict[str, str]]:
    """Return the local path of the learned embedding of the version that an alias or `v3` names, and the version's tags.

    Raises:
        ValueError: the concept has no such version, or the stored bytes are not those that were registered.
    """
    held = {f"v{row['version']}": int(row["version"]) for row in versions(concept)} | aliases(concept)
    if which in held:
        return fetch(concept, held[which])
    refuse_revoked(concept)
    raise ValueError(f"concept {concept!r} has no {which} in {EXPERIMENT}'s registry; register it first")


def fetch(concept: str, number: int) -> tuple[Path, dict[str, str]]:
    """Return the local path of the learned embedding of a version, and the version's tags.

    Raises:
        ValueError: the stored bytes are not those that were registered.
    """
    import mlflow

    name, found = model_name(concept), tags(concept, number)
    path = Path(mlflow.artifacts.download_artifacts(f"models:/{name}/{number}/{Path(STORED).parent}")) / Path(STORED).name
    if (stored := artifacts.sha256(path)) != found.get("digest"):
        raise ValueError(f"{name} version {number} was registered with SHA-256 {found.get('digest')}, but {path} has {stored}")
    return path, found


def training(concept: str, number: int, folder: Path) -> tuple[dict[str, str], dict[str, str], list[Path]]:
    """Return the settings that a version was trained with, its picture set as {name, digest, source}, and its sample sheets.

    The sheets are downloaded to `folder`; a version from before they were kept has none.
    """
    import mlflow

    client = mlflow.MlflowClient()
    model = client.get_logged_model(model_id(client.get_model_version(model_name(concept), str(number))))
    run: Any = client.get_run(str(model.source_run_id))
    datasets = [entry.dataset for entry in run.inputs.dataset_inputs]
    pictures = {key: str(getattr(datasets[0], key)) for key in ("name", "digest", "source")} if datasets else {}
    sheets: list[Path] = []
    if any(entry.path == SHEETS for entry in client.list_artifacts(run.info.run_id)):
        sheets = sorted(Path(client.download_artifacts(run.info.run_id, SHEETS, str(folder))).iterdir())
    return dict(model.params), pictures, sheets


def model_id(version: "ModelVersion") -> str:
    """Return the id of the LoggedModel that a version was made from."""
    return str(version.source).removeprefix("models:/")


def pages(search: Any, condition: str) -> Iterator[Any]:
    """Yield every result of one of MLflow's searches."""
    token = None
    while True:
        page = search(condition, max_results=PAGE, page_token=token)
        yield from page
        if not (token := page.token):
            return
