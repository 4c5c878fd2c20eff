"""Starting the app: its port, its record for the commands, and the model that is loaded while a person looks at the first page."""

import json
import logging
import os
import socket
import threading
import webbrowser
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import uvicorn

from flows.ui.app import make_app
from flows.ui.client import RUNNING
from flows.ui.guard import Access
from flows.ui.imports import import_models
from flows.ui.uploads import forget_old_uploads
from tasks.registry import connection
from tasks.registry.connection import tracking_uri
from tasks.settings import load_settings

log = logging.getLogger(__name__)


def serve(access: Access, port: int, open_browser: bool, say: Callable[[str], object]) -> None:
    """Serve the catalog in this folder until Ctrl-C.

    port: 0 takes any free one. say: is called with the address.

    Raises:
        ValueError: params.yaml is not valid, or the port is taken.
    """
    load_settings()
    listening = listen(access.host, port)
    host = f"[{access.host}]" if ":" in access.host else access.host
    address = f"http://{host}:{listening.getsockname()[1]}"
    page = address + "/" + (f"?{urlencode({'token': access.token})}" if access.token else "")
    forget_old_uploads()
    with ThreadPoolExecutor(1, thread_name_prefix="drawing") as worker:
        app = make_app(access, worker)
        if not access.read_only:
            worker.submit(warm)
        write_record(access, address)
        say(page)
        if open_browser:
            threading.Timer(0.5, webbrowser.open, [page]).start()
        try:
            settings = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1, server_header=False)
            uvicorn.Server(settings).run(sockets=[listening])
        except KeyboardInterrupt:
            pass  # Ctrl-C is how an app ends
        finally:
            RUNNING.unlink(missing_ok=True)
            app.state.drawings.cancel_all()
            worker.shutdown(wait=False, cancel_futures=True)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on a port; raise a ValueError that names the port if it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()  # who asks before the app is ready waits instead of being refused
    except OSError as error:
        listening.close()
        raise ValueError(f"{host}:{port} cannot be used ({error.strerror}); choose another with --port, 0 takes any free one") from error
    return listening


def write_record(access: Access, address: str) -> None:
    """Write the app's address and tokens for the commands, readable by its owner alone."""
    record = {"address": address, "write_token": access.write_token, "token": access.token, "pid": os.getpid()}
    RUNNING.parent.mkdir(parents=True, exist_ok=True)
    temporary = RUNNING.with_suffix(f".{os.getpid()}.tmp")
    temporary.touch(mode=0o600)
    temporary.write_text(json.dumps(record), encoding="utf-8")
    os.replace(temporary, RUNNING)


def warm() -> None:
    """Load what the first drawing needs. An error occurs again, and is shown, when something is drawn."""
    try:
        import_models()
        from tasks.diffusion.base_model import load_base_model
        from tasks.using import imagine  # noqa: F401

        settings = load_settings()
        if connection.exists(uri := tracking_uri(settings)):
            connection.connect(uri)
        load_base_model(*settings.base_model)
    except Exception as error:
        log.warning("the model is not loaded yet: %s", error)
