"""A command whose order the app of the catalog carries out."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from flows.cli.main import app
from flows.ui import client
from tasks.using import orders
from tests.support.catalogs import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture
def served(catalog: Path) -> Iterator[str]:
    """The address of an app that serves the catalog in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-P", "-m", "flows.cli.main", "ui", "--no-browser", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        (address,) = re.findall(r"http://\S+", process.stdout.readline())
        yield address.rstrip("/;")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def test_the_app_draws_for_the_commands(served: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(orders, "carry_out", None)  # this process draws nothing
    result = CliRunner().invoke(app, ["imagine", "a dog", "-n", "2", "--seed", "3", "--out", "drawn"])
    assert result.exit_code == 0, result.output
    assert [Path(line).name for line in result.output.splitlines()] == ["000003.png", "000004.png"]
    assert f"the app at {served} draws" in caplog.text
    mask = Image.new("L", (96, 96))
    mask.paste(255, (24, 24, 72, 72))
    mask.save("mask.png")
    result = CliRunner().invoke(app, ["edit", "data/images/fox/0.png", "a dog", "--mask", "mask.png", "-n", "1", "--out", "edited"])
    assert result.exit_code == 0, result.output
    assert Image.open(result.output.strip()).size == (16, 16)
    refused = CliRunner().invoke(app, ["imagine", "a <unicorn>"])
    assert refused.exit_code == 1 and "this catalog has no word <unicorn>" in str(refused.exception)
    assert stat.S_IMODE(client.RUNNING.stat().st_mode) == 0o600


def test_without_an_app_the_commands_draw_themselves(catalog: Path) -> None:
    assert not client.RUNNING.exists()
    client.RUNNING.parent.mkdir(exist_ok=True)
    client.RUNNING.write_text(json.dumps({"address": "http://127.0.0.1:9", "write_token": "x", "token": "", "pid": os.getpid()}))
    assert client.app_of_this_catalog() is None
    client.RUNNING.write_text("{")
    assert client.app_of_this_catalog() is None
    result = CliRunner().invoke(app, ["imagine", "a dog", "-n", "1", "--out", "alone"])
    assert result.exit_code == 0 and len(list(Path("alone").rglob("*.png"))) == 1
    client.RUNNING.unlink()
