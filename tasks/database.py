"""A new MLflow database on this machine; a server makes its own."""

import logging
import os
from pathlib import Path


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
