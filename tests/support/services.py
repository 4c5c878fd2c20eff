"""Servers as tests need them: on a free port, in a process group of their own, gone when the block ends."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

BUCKET_KEYS = {"AWS_ACCESS_KEY_ID": "a-key", "AWS_SECRET_ACCESS_KEY": "its-secret", "AWS_DEFAULT_REGION": "us-east-1"}

PORTS = iter(range(500))
"""Those of this process that were not given to a server yet."""


def free_port() -> int:
    """Return a port that stays free until its server listens: the system gives it to no client, and each test process has ports of its own."""
    first = 20_000 + 500 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for port in PORTS:
        with socket.socket() as listening, suppress(OSError):
            listening.bind(("127.0.0.1", first + port))
            return first + port
    raise OSError(f"no port from {first} to {first + 499} is free")


@contextmanager
def started(command: list[str], log: Path, **options: Any) -> Iterator[subprocess.Popen]:
    """Run a server for as long as the block lasts."""
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True, **options) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):  # it ended by itself
                os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)


def wait_for(process: subprocess.Popen, ready: Callable[[], bool], log: Path) -> None:
    """Wait until a server is ready; fail with its log if it ends before, or takes ten minutes."""
    deadline = time.monotonic() + 600
    while not ready():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text(encoding="utf-8")
        time.sleep(0.1)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return response.status == 200
    except OSError:
        return False


@contextmanager
def mlflow_server(database: Path, log: Path, *options: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """Run MLflow's server on a SQLite database and give its process and its address."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1", "--backend-store-uri", f"sqlite:///{database}"]
    with started([*command, *options], log) as process:
        wait_for(process, lambda: answers(f"http://127.0.0.1:{port}/health"), log)
        yield process, f"http://127.0.0.1:{port}"


@contextmanager
def bucket_server(log: Path) -> Iterator[str]:
    """Run moto's S3 and give its address."""
    port = free_port()
    with started([sys.executable, "-m", "moto.server", "-p", str(port)], log) as process:
        endpoint = f"http://127.0.0.1:{port}"
        wait_for(process, lambda: answers(f"{endpoint}/moto-api/"), log)
        yield endpoint


def s3(endpoint: str) -> Any:
    """Return a client of a bucket server."""
    import boto3

    keys = {name.lower(): value for name, value in BUCKET_KEYS.items() if name != "AWS_DEFAULT_REGION"}
    return boto3.client("s3", endpoint_url=endpoint, region_name=BUCKET_KEYS["AWS_DEFAULT_REGION"], **keys)
