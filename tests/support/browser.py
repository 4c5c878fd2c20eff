"""A real browser for tests: Chromium without a window, driven through its DevTools."""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium or Chrome on PATH, in which the page would be filled in")
KEYS = {"Enter": ("Enter", 13, "\r"), "Backspace": ("Backspace", 8, ""), "Tab": ("Tab", 9, "")}


class Browser:
    """A Chromium with one page of a phone's size."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection, self.number, self.session = connection, 0, None
        self.events: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.send("Page.enable")
        self.send("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=2, mobile=True)
        self.send("Emulation.setTouchEmulationEnabled", enabled=True)

    def send(self, method: str, **parameters: Any) -> Any:
        """Send a command and return its result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters} | ({"sessionId": self.session} if self.session else {})
        self.connection.send(json.dumps(message))
        while (reply := self.receive()).get("id") != self.number:
            pass
        assert "error" not in reply, reply["error"]
        return reply["result"]

    def receive(self) -> Any:
        message = json.loads(self.connection.recv(timeout=60))
        self.events.append(message.get("method", ""))
        return message

    def open(self, page: Path) -> None:
        self.load("Page.navigate", url=page.absolute().as_uri())

    def reload(self) -> None:
        self.load("Page.reload")

    def load(self, method: str, **parameters: Any) -> None:
        """Send a command that loads a page, and wait until its scripts have run."""
        self.events.clear()
        self.send(method, **parameters)
        while "Page.loadEventFired" not in self.events:
            self.receive()

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page."""
        result = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key as a keyboard does."""
        name, code, text = KEYS.get(key, (f"Digit{key}", ord(key[0]), key))
        event = {"key": key, "code": name, "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", type="keyDown", **event, **({"text": text} if text else {}))
        self.send("Input.dispatchKeyEvent", type="keyUp", **event)

    def tap(self, selector: str, number: int = 0) -> None:
        """Tap the middle of an element with a finger."""
        box = f"document.querySelectorAll({json.dumps(selector)})[{number}]"
        self.run(f"{box}.scrollIntoView({{block: 'nearest'}})")
        x, y = self.run(f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({box}.getBoundingClientRect())")
        self.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def text(self) -> str:
        return self.run("document.body.innerText")

    def save_to(self, folder: Path) -> None:
        self.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))


def wait_until(condition: Any, seconds: float = 30) -> Any:
    """Return the first true value of a condition.

    Raises:
        TimeoutError: it stayed false.
    """
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.02)
    return value


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Start a Chromium whose profile is new and lies in a folder."""
    assert CHROMIUM
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--remote-debugging-port=0"]
    command = [CHROMIUM, *options, f"--user-data-dir={folder}", "about:blank"]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            port = folder / "DevToolsActivePort"  # Chromium writes it when it listens: the port, then the path
            lines = wait_until(lambda: port.exists() and port.read_text().split(), 60)
            with connect(f"ws://127.0.0.1:{lines[0]}{lines[1]}", max_size=None) as connection:
                yield Browser(connection)
        finally:
            process.terminate()
