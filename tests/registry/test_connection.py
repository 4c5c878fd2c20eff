"""One writer at a time."""

from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from tasks.registry import connection
from tasks.settings import Settings


def test_a_writer_keeps_others_of_this_machine_out(settings: Settings) -> None:
    connection.connect(connection.tracking_uri(settings))
    with connection.one_writer(), pytest.raises(Timeout):
        FileLock(Path("mlruns/.mlflow.db.lock"), timeout=0).acquire()
    with FileLock(Path("mlruns/.mlflow.db.lock"), timeout=0):
        pass  # it is free again
