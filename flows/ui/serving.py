"""Starting the app: its port, its record for the commands, and the model that is loaded while a person looks at the first page."""

import asyncio
import json
import logging
import os
import socket
import threading
import webbrowser
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from urllib.parse import urlencode

import uvicorn

from flows.ui.app import make_app
from flows.ui.client import RUNNING, app_of_this_catalog
from flows.ui.guard import Access, is_address
from flows.ui.imports import import_models
from flows.ui.uploads import forget_old_uploads
from tasks.artifacts import read_json
from tasks.pipeline.device import gpu_name
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
    # The commands draw with the first app, as long as it runs. It is asked before this app has a port, which the record of a killed one may name.
    recorded = not access.read_only and app_of_this_catalog() is None
    listening = listen(access.host, port)
    here, elsewhere = addresses(access.host, listening.getsockname()[1])
    page = "/" + (f"?{urlencode({'token': access.token})}" if access.token else "")
    forget_old_uploads()
    with ThreadPoolExecutor(1, thread_name_prefix="drawing") as worker:
        app = make_app(access, worker)
        if not access.read_only:
            worker.submit(warm)
        if recorded:
            write_record(access, here)
        say(elsewhere + page)
        if open_browser:
            threading.Timer(0.5, webbrowser.open, [here + page]).start()
        try:
            settings = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1, server_header=False)
            logging.getLogger("uvicorn.error").addFilter(unless_given_up)
            server = uvicorn.Server(settings)
            app.state.ends = lambda: server.should_exit
            server.run(sockets=[listening])
        except KeyboardInterrupt:
            pass  # Ctrl-C is how an app ends
        finally:
            forget_record()
            app.state.drawings.cancel_all()
            worker.shutdown(cancel_futures=True)  # a drawing ends with its batch, or at once if it waits for the GPU


def unless_given_up(record: logging.LogRecord) -> bool:
    """Keep off the terminal what uvicorn logs of a request that Ctrl-C gave up."""
    given_up = record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError)
    return not (given_up or "timeout graceful shutdown exceeded" in str(record.msg))


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


def addresses(host: str, port: int) -> tuple[str, str]:
    """Return the app's address for this machine and for others; an app that listens on every address has the machine's name there."""
    if is_address(host) and ip_address(host).is_unspecified:
        here, elsewhere = "::1" if ":" in host else "127.0.0.1", socket.gethostname()
    else:
        here = elsewhere = host
    bracketed = [f"[{name}]" if ":" in name else name for name in (here, elsewhere)]
    return f"http://{bracketed[0]}:{port}", f"http://{bracketed[1]}:{port}"


def write_record(access: Access, address: str) -> None:
    """Write the app's address and tokens for the commands, readable by its owner alone."""
    record = {"address": address, "write_token": access.write_token, "token": access.token, "pid": os.getpid()}
    RUNNING.parent.mkdir(parents=True, exist_ok=True)
    temporary = RUNNING.with_suffix(f".{os.getpid()}.tmp")
    temporary.touch(mode=0o600)
    temporary.write_text(json.dumps(record), encoding="utf-8")
    os.replace(temporary, RUNNING)


def forget_record() -> None:
    """Delete the app's record, but not that of another app of this catalog."""
    if RUNNING.exists() and read_json(RUNNING).get("pid") == os.getpid():
        RUNNING.unlink()


def warm() -> None:
    """Load what the first drawing needs. An error occurs again, and is shown, when something is drawn.

    The model itself is loaded on a CPU alone: a GPU's memory is for a build, which is another process, until a person draws.
    """
    try:
        import_models()
        from tasks.diffusion.base_model import load_base_model, model_folder
        from tasks.using import imagine  # noqa: F401

        settings = load_settings()
        if connection.exists(uri := tracking_uri(settings)):
            connection.connect(uri)
        if gpu_name(settings.runtime.device) is None:
            model_folder(settings.base.model, settings.base.revision)  # a download, while which other models can be loaded
            load_base_model(*settings.base_model)
    except Exception as error:
        log.warning("the model is not loaded yet: %s", error)
