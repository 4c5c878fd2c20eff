"""One writer at a time."""

from pathlib import Path

import mlflow
import pytest
from filelock import FileLock, Timeout

from tasks import artifacts
from tasks.registry import connection
from tasks.settings import Settings


def test_a_writer_keeps_others_of_this_machine_out(settings: Settings) -> None:
    connection.connect(connection.tracking_uri(settings))
    with connection.one_writer(), pytest.raises(Timeout):
        FileLock(Path("mlruns/.mlflow.db.lock"), timeout=0).acquire()
    with FileLock(Path("mlruns/.mlflow.db.lock"), timeout=0):
        pass  # it is free again


def test_a_reader_waits_for_no_writer(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    connection.connect(uri := connection.tracking_uri(settings))

    def waits() -> None:
        raise AssertionError("connecting took the writers' lock")

    monkeypatch.setattr(connection, "one_writer", waits)
    connection.connect(uri)


def test_clones_on_one_machine_share_the_lock_of_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"ann:secret@127.0.0.1/{tmp_path.name}"
    for folder in ("one", "another"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "one")
    monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: f"http://{address}")
    with connection.one_writer():
        monkeypatch.chdir(tmp_path / "another")
        monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: f"http://{address.replace('ann:secret', 'ben:other')}")
        monkeypatch.setattr(connection, "machine_lock", lambda name: artifacts.machine_lock(name).acquire(timeout=0))
        with pytest.raises(Timeout), connection.one_writer():
            pass
