"""The commands' way to the app of this catalog, which has the model in memory."""

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from flows.ui.guard import WRITE, proof
from tasks.artifacts import CACHE, read_json
from tasks.using.orders import Drawn, Order

RUNNING = CACHE / "ui.json"
"""The address, the tokens and the process of the app that serves this catalog; only its owner may read it."""


class App(NamedTuple):
    """An app that runs."""

    address: str
    write_token: str
    token: str
    pid: int


def app_of_this_catalog() -> App | None:
    """Return the app that serves this catalog and may draw, or None."""
    if not RUNNING.exists():
        return None
    try:
        app = App(**read_json(RUNNING))
        os.kill(app.pid, 0)
        facts = json.loads(ask(app, "GET", "/api/app"))
    except (OSError, ValueError, TypeError):  # it was killed, or something else has its port
        return None
    return app if facts.get("catalog") == str(Path.cwd()) and not facts["read_only"] else None


def carry_out(app: App, order: Order, picture: Path | None, mask: Path | None) -> Iterator[Drawn]:
    """Yield the pictures of an order that the app carries out, as they are drawn.

    Raises:
        ValueError: the app refuses the order, or cannot carry it out.
    """
    from PIL import Image

    files = {
        name: json.loads(ask(app, "PUT", "/api/uploads", path.read_bytes()))["id"] for name, path in (("picture", picture), ("mask", mask)) if path
    }
    drawing = json.loads(ask(app, "POST", "/api/drawings", json.dumps({"order": order.model_dump(), **files}).encode()))
    shown, ended = 0, False
    try:
        while not ended:
            drawing = json.loads(ask(app, "GET", f"/api/drawings/{drawing['id']}"))
            ended = drawing["state"] not in ("queued", "drawing")
            for entry in drawing["pictures"][shown:]:
                data = ask(app, "GET", f"/pictures/drawings/{drawing['id']}/{entry['name']}")
                yield Drawn(entry["name"], Image.open(BytesIO(data)), entry["facts"], entry.get("words", {}))
            shown = len(drawing["pictures"])
            if not ended:
                time.sleep(0.05)
    finally:
        if not ended:
            ask(app, "DELETE", f"/api/drawings/{drawing['id']}")
    if drawing["state"] != "done":
        raise ValueError(drawing["error"] or "the drawing was cancelled in the app")


def ask(app: App, method: str, path: str, body: bytes | None = None) -> bytes:
    """Return the app's answer; raise a ValueError with the reason that it gives for a refusal."""
    headers = {WRITE: app.write_token, "Authorization": f"Bearer {proof(app.token)}", "Content-Type": "application/json"}
    request = urllib.request.Request(app.address + path, data=body, headers=headers, method=method)
    try:
        with NO_PROXY.open(request, timeout=60) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        raise ValueError(reason(error.read()) or str(error)) from error


def reason(body: bytes) -> str:
    try:
        told: Any = json.loads(body)
    except ValueError:
        return ""
    return str(told.get("error", ""))


NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""An app on this machine is never asked through a proxy."""
