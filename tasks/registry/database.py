"""MLflow's database: create one on this machine, as MLflow's server does, and write rows that two machines may write at once."""

import logging
import os
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any


def create_database(path: Path) -> None:
    """Migrate a new database under a temporary name, then move it into place: a killed migration cannot be resumed."""
    from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine_with_retry

    temporary = path.with_name(f".{path.name}.tmp")
    for suffix in ("", "-wal", "-shm", "-journal"):
        temporary.with_name(temporary.name + suffix).unlink(missing_ok=True)
    for name in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)  # each of dozens of migrations would log a line
    engine = create_sqlalchemy_engine_with_retry(f"sqlite:///{temporary}")
    _initialize_tables(engine)
    engine.dispose()
    os.replace(temporary, path)


def put(write: Callable[..., Any], *row: Any) -> None:
    """Write a row that may exist already. If two machines create it at once, MLflow refuses one, which finds the row when it tries again."""
    from mlflow.exceptions import MlflowException

    try:
        write(*row)
    except MlflowException as error:
        if error.get_http_status_code() != HTTPStatus.BAD_REQUEST:  # a failed UNIQUE constraint is a bad request
            raise
        write(*row)
