"""The app as a real process, as `wordmint ui` starts it."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.catalogs import ROOT
from tests.support.services import started, wait_for

ADDRESS = re.compile(r"the catalog is at (http://127\.0\.0\.1:\d+)/")


@contextmanager
def running_app(log: Path, *options: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """Serve the catalog in this folder, and give the app's process and its address. The block may kill it."""

    def address() -> str:
        found = ADDRESS.search(log.read_text(encoding="utf-8"))
        return found[1] if found else ""

    command = [sys.executable, "-P", "-m", "flows.cli.main", "ui", "--no-browser", "--port", "0", *options]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with started(command, log, env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}) as process:
        wait_for(process, lambda: bool(address()), log)
        yield process, address()
