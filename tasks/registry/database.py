"""MLflow's database: create one on this machine, as MLflow's server does, and write rows that two machines may write at once."""

import logging
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any


def create_database(path: Path) -> None:
    """Migrate a new database under a temporary name, then move it into place: a killed migration cannot be resumed."""
    from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine_with_retry

    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    for database in (temporary, path):
        for suffix in ("-wal", "-shm", "-journal"):  # a killed process may have left them, and SQLite would replay them into the new database
            database.with_name(database.name + suffix).unlink(missing_ok=True)
    for name in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)  # each of dozens of migrations would log a line
    engine = create_sqlalchemy_engine_with_retry(f"sqlite:///{temporary}")
    _initialize_tables(engine)
    engine.dispose()
    log_ahead(temporary)
    os.replace(temporary, path)


def log_ahead(database: Path) -> None:
    """Set SQLite's write-ahead log, which the file remembers: readers and a writer no longer wait for each other.

    Without it the threads of one process can keep a writer of another out for ever, for SQLite takes their overlapping reads as one.
    A database that somebody uses, or that cannot be written, stays as it is. https://sqlite.org/wal.html
    """
    with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(database, timeout=0)) as connected:
        connected.execute("PRAGMA journal_mode=WAL")


def put(write: Callable[..., Any], *row: Any) -> None:
    """Write a row that may exist already. If two machines create it at once, MLflow refuses one, which finds the row when it tries again."""
    from mlflow.exceptions import MlflowException

    try:
        write(*row)
    except MlflowException as error:
        if error.get_http_status_code() != HTTPStatus.BAD_REQUEST:  # a failed UNIQUE constraint is a bad request
            raise
        write(*row)
