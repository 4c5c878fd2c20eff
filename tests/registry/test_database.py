"""MLflow's database in SQLite: its write-ahead log, and what a deleted one leaves behind."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tasks.registry import connection
from tasks.registry.database import create_database, log_ahead
from tasks.settings import Settings

MODE = "PRAGMA journal_mode"
TABLE = "alembic_version"  # has one row of one text


def ask(database: Path, statement: str) -> object:
    with closing(sqlite3.connect(database)) as connected, connected:
        return connected.execute(statement).fetchone()


def test_readers_and_a_writer_do_not_wait_for_each_other(migrated_database: Path, tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    shutil.copy(migrated_database, database)
    with closing(sqlite3.connect(database, timeout=0)) as reader, closing(sqlite3.connect(database, timeout=0)) as writer:
        rows = reader.execute(f"SELECT * FROM {TABLE} UNION ALL SELECT * FROM {TABLE}")
        before = rows.fetchone()  # there is one more, so that the reader goes on reading
        with writer:
            writer.execute(f"UPDATE {TABLE} SET version_num = 'written'")
        assert rows.fetchone() == before != ("written",)
        assert reader.execute(f"SELECT * FROM {TABLE}").fetchone() == ("written",)


def test_an_older_database_gets_the_log_and_keeps_its_rows(settings: Settings) -> None:
    database = Path("mlruns/mlflow.db")
    assert ask(database, f"{MODE}=DELETE") == ("delete",)
    before = ask(database, f"SELECT * FROM {TABLE}")
    connection.connect(connection.tracking_uri(settings))
    assert ask(database, MODE) == ("wal",)
    assert ask(database, f"SELECT * FROM {TABLE}") == before


def test_a_database_in_use_stays_as_it_is(settings: Settings) -> None:
    database = Path("mlruns/mlflow.db")
    ask(database, f"{MODE}=DELETE")
    with closing(sqlite3.connect(database)) as other:
        rows = other.execute("SELECT name FROM sqlite_master")
        rows.fetchone()
        log_ahead(database)
        assert ask(database, MODE) == ("delete",)
        rows.close()
    log_ahead(database)
    assert ask(database, MODE) == ("wal",)


def test_the_log_of_a_deleted_database_is_not_replayed_into_a_new_one(tmp_path: Path) -> None:
    database, log = tmp_path / "mlflow.db", tmp_path / "mlflow.db-wal"
    create_database(database)
    with closing(sqlite3.connect(database)) as connected:
        with connected:
            connected.execute(f"UPDATE {TABLE} SET version_num = 'deleted'")
        left = log.read_bytes()
    assert left
    database.unlink()
    log.write_bytes(left)
    create_database(database)
    assert ask(database, f"SELECT * FROM {TABLE}") != ("deleted",)


@pytest.mark.parametrize("broken", [b"", b"no database" * 100])
def test_a_file_that_is_no_database_is_refused_in_one_line(settings: Settings, broken: bytes) -> None:
    database = Path("mlruns/mlflow.db")
    database.unlink()
    database.write_bytes(broken) if broken else database.mkdir()
    with pytest.raises(ConnectionError, match="SQLite cannot use MLflow's database: "):
        connection.connect(connection.tracking_uri(settings))
