"""The house of the broken catalogs: one folder in which a catalog is broken, copies of its states, and cheap processes that work in it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.preloaded import ROOT, preloaded
from tests.support.services import answers, free_port, started, wait_for

PATIENCE = 600  # seconds after which a command hangs; one waits in silence while another builds


class Process:
    """A command that a preloaded process was forked for."""

    def __init__(self, path: Path, command: list[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.settimeout(PATIENCE)
        self.connection.connect(str(path))
        self.connection.sendall(json.dumps([command[0], command[1:], str(folder), dict(environment)]).encode() + b"\n")
        self.answer = self.connection.makefile("rb")
        self.pid = int(self.answer.readline())

    def send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it has ended
            os.kill(self.pid, number)

    def wait(self) -> tuple[int | None, str]:
        """Return the exit code, None for a process that was killed, and all that it printed.

        Raises:
            TimeoutError: it hangs.
        """
        with self.connection:
            said, _, code = self.answer.read().rpartition(b"\n")
        if code.isdigit():
            return int(code), said.decode(errors="replace")
        return None, (said + b"\n" + code).decode(errors="replace")


@dataclass
class House:
    """The catalog that is broken always lies at the same path, for MLflow keeps the absolute paths of its artifacts."""

    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def mounts(self) -> bool:
        """Whether this process may mount file systems."""
        return os.path.ismount(self.disk)

    @property
    def place(self) -> Path:
        """The folder of the catalog and of the DVC remote beside it."""
        return self.disk / "place"

    @property
    def disk(self) -> Path:
        """A file system of its own, if this process may mount one."""
        return self.home / "disk"

    @property
    def free(self) -> int:
        """The free bytes of the disk."""
        status = os.statvfs(self.disk)
        return status.f_bavail * status.f_frsize

    @contextmanager
    def nearly_full(self, left: int) -> Iterator[None]:
        """Leave so many bytes, or none, free on the disk while the block runs."""
        filler = self.disk / "filler"
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(self.free - max(left, 0), 1))
        yield
        filler.unlink()

    @contextmanager
    def away(self, folder: str) -> Iterator[None]:
        """Put a file where a folder of the place is while the block runs."""
        path, hidden = self.place / folder, self.place / f"{folder} hidden"
        path.mkdir(exist_ok=True)
        path.rename(hidden)
        path.touch()
        yield
        path.unlink()
        hidden.rename(path)

    @property
    def catalog(self) -> Path:
        return self.place / "catalog"

    def start(self, *command: str, **environment: str) -> Process:
        """Start `wordmint ...`, `dvc ...` or `python -m ...` in the catalog."""
        return Process(self.home / "socket", list(command), self.catalog, self.environment | environment)

    def run(self, *command: str, **environment: str) -> tuple[int | None, str]:
        return self.start(*command, **environment).wait()

    def succeed(self, *command: str) -> str:
        """Run a command that has to succeed, and return what it printed."""
        code, said = self.run(*command)
        if code != 0:
            raise RuntimeError(f"{' '.join(command)} ended with {code}: {said}")
        return said

    def keep(self, state: str) -> None:
        """Keep a copy of the place under the name of a state."""
        shutil.copytree(self.place, self.home / "states" / state, symlinks=True)

    def take(self, state: str) -> None:
        """Put the place back into a state."""
        (self.disk / "filler").unlink(missing_ok=True)
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.home / "states" / state, self.place, symlinks=True)


@contextmanager
def mounted(disk: Path) -> Iterator[None]:
    """Mount a small file system in memory; without the right to, `disk` stays a folder."""
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512m", "tmpfs", str(disk)], capture_output=True, check=False)
    try:
        yield
    finally:
        if mount.returncode == 0:
            subprocess.run(["umount", "--lazy", str(disk)], check=True)


@contextmanager
def house(home: Path, flows: bool) -> Iterator[House]:
    """Start what the commands in a house need: the preloaded process, and a Prefect server if flows are run."""
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PREFECT_", "WORDMINT_"))},
        "PATH": os.pathsep.join([str(home / "bin"), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        "HOME": str(home),
        "DVC_SITE_CACHE_DIR": str(home / "dvc"),
        "OMP_NUM_THREADS": "1",
        **{name: "1" for name in ("DO_NOT_TRACK", "DVC_NO_ANALYTICS", "HF_HUB_OFFLINE", "CI")},
        **{"MLFLOW_DISABLE_TELEMETRY": "true", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_LOGGING_LEVEL": "WARNING"},
        **{"PREFECT_HOME": str(home / "prefect"), "GIT_CEILING_DIRECTORIES": str(home)},
    }
    server = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    with mounted(home / "disk"), preloaded(home, environment):
        if not flows:
            yield House(home, environment)
            return
        with started(server, home / "prefect.log", env=environment) as serving:
            wait_for(serving, lambda: answers(f"http://127.0.0.1:{port}/api/health"), home / "prefect.log")
            yield House(home, environment | {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api"})
