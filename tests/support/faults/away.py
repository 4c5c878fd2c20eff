"""What an operation may have to do without: MLflow's server answers with an error, or is killed; a folder cannot be written."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.support.services import mlflow_server


class Failing(BaseHTTPRequestHandler):
    """An MLflow server that answers every request with 500."""

    delay = 0.0

    def do_GET(self) -> None:
        time.sleep(self.delay)
        self.send_error(500)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def failing_server(slow: bool) -> Iterator[str]:
    handler = type("Slow", (Failing,), {"delay": 2.0}) if slow else Failing
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def killed_server(database: Path, home: Path, seconds: float) -> Iterator[str]:
    """Run MLflow's server on a database, and kill it when the block has run for so many seconds."""
    artifacts = (database.parent / "artifacts").as_uri()
    with mlflow_server(database, home / "mlflow.log", "--no-serve-artifacts", "--default-artifact-root", artifacts) as (process, address):
        timer = threading.Timer(seconds, os.killpg, (process.pid, signal.SIGKILL))
        timer.start()
        yield address
        timer.cancel()


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nobody, root included, write in a folder while the block runs."""
    subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
