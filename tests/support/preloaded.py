"""A process that has imported all that `wordmint` needs and forks for every command: importing it anew takes each of them 10 s.

`python -m tests.support.preloaded SOCKET` serves; SCRIPT is a `wordmint` that asks it. A command has its own environment and folder.
"""

import contextlib
import json
import os
import socketserver
import sys
from pathlib import Path

SCRIPT = """#!{python} -SE
import json, os, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect({socket!r})
connection.sendall(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode() + b"\\n")
said = connection.makefile("rb").read()
end = said.rindex(b"\\n") + 1
sys.stdout.buffer.write(said[:end])
sys.exit(int(said[end:]))
"""


class Command(socketserver.StreamRequestHandler):
    """One command, in the process that was forked for it."""

    def handle(self) -> None:
        arguments, folder, environment = json.loads(self.rfile.readline())
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        for stream in (1, 2):
            os.dup2(self.connection.fileno(), stream)
        from prefect.context import refresh_global_settings_context

        from flows.cli.main import app

        refresh_global_settings_context()
        sys.argv, code = ["wordmint", *arguments], 0
        try:
            app()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(1, f"\n{code}".encode())
        os._exit(0)


class Server(socketserver.ForkingMixIn, socketserver.UnixStreamServer):
    max_children = 8


def main(path: Path) -> None:
    import dvc.repo  # noqa: F401
    import dvc_s3  # noqa: F401
    import mlflow.pyfunc  # noqa: F401

    from flows.batches import load_stages

    load_stages()
    with Server(str(path), Command) as server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
