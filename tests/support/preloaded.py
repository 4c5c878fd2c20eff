"""A process that has imported all that `wordmint` needs and forks for every command: importing it anew takes each of them 10 s.

`python -m tests.support.preloaded SOCKET` serves; SCRIPT is a `wordmint`, `dvc` or `python -m MODULE`, by its file's name, that asks it. A command
has its own environment and folder. It first tells its process id, and at its end a line with its exit code, which a killed one does not. Its errors
come on the standard output too.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import socketserver
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from tasks import faults
from tests.support.services import started, wait_for

ROOT = Path(__file__).parents[2]

SCRIPT = """#!{python} -SE
import json, os, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect({socket!r})
connection.sendall(json.dumps([os.path.basename(sys.argv[0]), sys.argv[1:], os.getcwd(), dict(os.environ)]).encode() + b"\\n")
answer = connection.makefile("rb")
answer.readline()
said, _, code = answer.read().rpartition(b"\\n")
sys.stdout.buffer.write(said)
sys.exit(int(code) if code.isdigit() else 137)
"""
VISIT = "WORDMINT_FAULT_VISIT"
"""The visit of a named point from which on the fault strikes; the first by default."""


IMPORTED = Path()
"""Where a command notes its imports."""


class Command(socketserver.StreamRequestHandler):
    """One command, in the process that was forked for it."""

    def handle(self) -> None:
        program, arguments, folder, environment = json.loads(self.rfile.readline())
        self.wfile.write(f"{os.getpid()}\n".encode())
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for stream in (1, 2):
            os.dup2(self.connection.fileno(), stream)
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()
        strike_at_visit(int(environment.get(VISIT, "1")))
        sys.argv, code = [program, *arguments], 0
        try:
            run(program, arguments)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
        except BaseException:
            traceback.print_exc()
            code = 1
        note_imports()
        threading._shutdown()  # type: ignore[attr-defined]  # with the next line, all that the end of an interpreter does
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(1, f"\n{code}".encode())
        os._exit(0)


def strike_at_visit(number: int) -> None:
    strike, visits = faults.strike, count(1)
    faults.strike = lambda fault: strike(fault) if next(visits) >= number else None


def run(program: str, arguments: list[str]) -> None:
    if program == "wordmint":
        from flows.cli.main import app

        app()
    elif program == "dvc":
        from dvc.cli import main

        sys.exit(main(arguments))
    else:
        _, module, *rest = arguments  # python -m MODULE
        sys.argv = [f"{module.rpartition('.')[2]}.py", *rest]
        runpy.run_module(module, run_name="__main__")


def note_imports() -> None:
    """Write down what this process has imported, so that the next one need not."""
    note = IMPORTED.with_name(f".{os.getpid()}")
    note.write_text("\n".join(sorted(sys.modules)), encoding="utf-8")
    note.rename(IMPORTED)


class Server(socketserver.ForkingMixIn, socketserver.UnixStreamServer):
    max_children = 8

    def process_request(self, request: Any, client_address: Any) -> None:
        if IMPORTED.exists():
            for name in IMPORTED.read_text(encoding="utf-8").split():
                if name not in sys.modules:
                    with contextlib.suppress(Exception):  # some cannot be imported by their names
                        importlib.import_module(name)
            IMPORTED.unlink()
            gc.freeze()
        super().process_request(request, client_address)


@contextlib.contextmanager
def preloaded(folder: Path, environment: Mapping[str, str]) -> Iterator[Path]:
    """Serve at `folder`/socket while the block runs, and yield the folder of the programs that ask there."""
    programs, log = folder / "bin", folder / "preloaded.log"
    programs.mkdir()
    for name in ("python", "wordmint", "dvc"):
        (programs / name).write_text(SCRIPT.format(python=sys.executable, socket=str(folder / "socket")), encoding="utf-8")
        (programs / name).chmod(0o755)
    command = [sys.executable, "-m", "tests.support.preloaded", str(folder / "socket")]
    single = {**environment, "OMP_NUM_THREADS": "1"}  # a process of several threads cannot be forked
    with started(command, log, cwd=ROOT, env=single) as process:
        wait_for(process, (folder / "socket").exists, log)
        yield programs


def main(path: Path) -> None:
    global IMPORTED
    IMPORTED = path.with_name(f"{path.name}.imported")
    gc.set_threshold(50_000, 20, 20)  # as `wordmint` does
    import dvc.repo  # noqa: F401
    import dvc_s3  # noqa: F401
    import mlflow.pyfunc  # noqa: F401
    from mlflow.utils.requirements_utils import _init_packages_to_modules_map

    from flows.batches import load_stage
    from tasks.pipeline.graph import STAGES

    for stage in STAGES:
        load_stage(stage)
    _init_packages_to_modules_map()  # which MLflow does once in each process
    with Server(str(path), Command) as server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
