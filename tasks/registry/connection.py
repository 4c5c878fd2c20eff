"""The connection to MLflow: its address, one writer at a time, and its experiment."""

import hashlib
import logging
import os
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from tasks.artifacts import machine_lock
from tasks.registry.database import create_database, log_ahead
from tasks.settings import Settings

if TYPE_CHECKING:  # mlflow takes seconds to import, and stages that do not publish never need it
    from mlflow import MlflowClient


EXPERIMENT = "wordmint"
PREFIX = "concept."
PAGE = 1000  # rows per request
MOVING = threading.Lock()  # the address and its two environment variables are the process's, not the thread's
REFUSALS = {
    401: "MLflow does not know this user; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    403: "MLflow does not let this user write; its administrator can, as docs/team.md says",
}


def model_name(concept: str) -> str:
    return f"{PREFIX}{concept}"


def connect(uri: str) -> None:
    """Make `uri` the tracking server and registry of this process; a missing SQLite database or experiment is created.

    It waits for writers only where something is missing, so that readers do not queue. Raises what `one_writer` raises.
    """
    import mlflow

    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # two lines for each version, among the build's own
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # takes 14 s; MLflow's default of 7 takes four minutes to say that nothing answers
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it warns of each of these retries; the error at their end says enough
    database = sqlite_file(uri)
    with MOVING:
        if (mlflow.get_tracking_uri(), mlflow.get_registry_uri()) != (uri, uri):
            set_address(uri)
            if database and database.exists():
                log_ahead(database)  # one that an older wordmint created lacks the log
    with plain_errors():
        if (not database or database.exists()) and mlflow.MlflowClient().get_experiment_by_name(EXPERIMENT):
            return
    with one_writer():
        if database and not database.exists():
            create_database(database)
        experiment_id(mlflow.MlflowClient(), (database.parent / "artifacts").as_uri() if database else None)


def set_address(uri: str) -> None:
    """Make `uri` MLflow's address in this process and leave the environment as it is."""
    import mlflow

    exported = {name: os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")}
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    for name, value in exported.items():  # MLflow exports the addresses, which would overrule params.yaml from then on
        os.environ.pop(name, None)
        os.environ.update({name: value} if value is not None else {})


def sqlite_file(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")).absolute() if uri.startswith("sqlite:///") else None


def exists(uri: str) -> bool:
    """Tell whether there is anything to read at `uri`; a server counts as there without being asked."""
    database = sqlite_file(uri)
    return database is None or database.exists()


@contextmanager
def one_writer() -> Iterator[None]:
    """Hold the registry's lock, which all processes of this machine share; MLflow does not stop two of them from registering the same embedding.

    It lies beside a SQLite database. That of a server has the name of its address, for the processes may work in clones of their own.

    Raises:
        PermissionError, ConnectionError: see `plain_errors`.
    """
    import mlflow

    uri = mlflow.get_tracking_uri()
    if database := sqlite_file(uri):
        database.parent.mkdir(parents=True, exist_ok=True)
    name = f"registry-{hashlib.sha256(uri.rpartition('@')[2].encode()).hexdigest()[:16]}"
    with plain_errors(), FileLock(database.with_name(f".{database.name}.lock")) if database else machine_lock(name):
        yield


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn an error of MLflow's into one that says what to do.

    Raises:
        PermissionError: the server does not know the user, or refuses them what the block does.
        ConnectionError: nothing answers at the address, MLflow refuses it or a request, or SQLite cannot use its file.
    """
    try:
        yield
    except Exception as error:
        # While MLflow opens a database, it lets SQLAlchemy's errors through.
        if isinstance(cause := getattr(error, "orig", None), sqlite3.DatabaseError):
            raise ConnectionError(
                f"SQLite cannot use MLflow's database: {cause}; make its folder writable, which SQLite needs even for reading"
            ) from error
        known = sys.modules.get("mlflow.exceptions")  # a block that did not import mlflow, which takes seconds, has no error of its
        if not known or not isinstance(error, known.MlflowException):
            raise
        if refusal := REFUSALS.get(error.get_http_status_code()):
            raise PermissionError(refusal) from error
        # The text may hold the address and so a password: only the cause keeps it.
        raise ConnectionError("MLflow cannot be used at MLFLOW_TRACKING_URI or runtime.tracking_uri; WORDMINT_TRACEBACK=1 shows why") from error


def experiment_id(client: "MlflowClient", artifact_location: str | None = None) -> str:
    """Return the id of wordmint's experiment, which is created if missing; without `artifact_location` the server chooses the location."""
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(EXPERIMENT)
    try:
        return experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT, artifact_location=artifact_location)
    except MlflowException:
        if experiment := client.get_experiment_by_name(EXPERIMENT):  # another machine created it meanwhile
            return experiment.experiment_id
        raise


def who() -> dict[str, str]:
    """Return the tags in which MLflow would write the name of this machine's user and the path of the program, which may have it too."""
    from mlflow.utils.credentials import read_mlflow_creds

    return {"mlflow.user": read_mlflow_creds().username or "unknown", "mlflow.source.name": "wordmint", "mlflow.source.type": "LOCAL"}


def pages(search: Any, condition: str) -> Iterator[Any]:
    """Yield every result of one of MLflow's searches."""
    token = None
    while True:
        page = search(condition, max_results=PAGE, page_token=token)
        yield from page
        if not (token := page.token):
            return


def tracking_uri(settings: Settings) -> str:
    return tracking_address(settings.runtime.tracking_uri)


def tracking_address(configured: str | None) -> str:
    """Return MLflow's address: that of the environment, else that of params.yaml, else the database under mlruns/."""
    return os.environ.get("MLFLOW_TRACKING_URI") or configured or f"sqlite:///{Path('mlruns/mlflow.db').absolute()}"
