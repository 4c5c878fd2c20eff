"""MLflow's database: a new one on this machine, which MLflow's server would make itself, and rows that two machines make at once."""

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
        logging.getLogger(name).setLevel(logging.WARNING)  # else a line for each of dozens of migrations
    engine = create_sqlalchemy_engine_with_retry(f"sqlite:///{temporary}")
    _initialize_tables(engine)
    engine.dispose()
    os.replace(temporary, path)


def put(write: Callable[..., Any], *row: Any) -> None:
    """Write a row that may be there already; of two machines that make one at once MLflow refuses one, which finds it there when it tries again."""
    from mlflow.exceptions import MlflowException

    try:
        write(*row)
    except MlflowException as error:
        if error.get_http_status_code() != HTTPStatus.BAD_REQUEST:  # as of a UNIQUE constraint that failed
            raise
        write(*row)
