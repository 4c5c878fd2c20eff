"""Builds take turns in a catalog and on a GPU, and commands that draw take turns on a GPU too."""

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from filelock import FileLock, Timeout
from typer.testing import CliRunner

from flows import device_slot as slot
from flows.cli import drawing
from flows.cli.main import app
from tasks.pipeline import device
from tasks.settings import Settings


def test_a_gpu_is_held_against_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "gpu_name", lambda name: f"gpu-of-{os.getpid()}")
    with device.device_lock("cuda") as held, pytest.raises(Timeout):
        FileLock(held.lock_file, timeout=0).acquire()
    with FileLock(held.lock_file, timeout=0):
        pass  # it is free again


def test_a_cpu_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "gpu_name", lambda name: None)
    assert isinstance(device.device_lock("cpu"), nullcontext)


def test_a_build_holds_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    held = []

    @contextmanager
    def lock(name: str) -> Iterator[None]:
        held.append(name)
        yield
        held.append("free")

    monkeypatch.setattr(slot, "gpu_name", lambda name: None)
    monkeypatch.setattr(slot, "device_lock", lock)
    with slot.device_slot("cuda:1"):
        assert held == ["cuda:1"]
    assert held == ["cuda:1", "free"]


def test_a_build_waits_for_another_of_its_catalog_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(1) as other:
        with device.catalog_turn():
            waiting = other.submit(device.catalog_turn()(lambda: "begun"))
            deadline = time.monotonic() + 60
            while "a build of this catalog is at work" not in caplog.text and time.monotonic() < deadline:
                time.sleep(0.05)
            assert not waiting.done()
        assert waiting.result(60) == "begun"
    assert "a build of this catalog is at work" in caplog.text


def test_who_looks_for_a_build_is_not_taken_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert device.running_build() is None
    with device.catalog_turn():
        assert device.running_build() == os.getpid()
    with device.BUILD.open("rb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        assert device.running_build() is None


@pytest.mark.parametrize(
    "command",
    [
        ("imagine", "a <fox>"),
        ("edit", "p.png", "a <fox>", "--mask", "m.png"),
        ("reimagine", "p.png", "a <fox>", "--concept", "fox"),
        ("compose",),
        ("spread", "a {}", "dog", "--over", "red,blue"),
    ],
)
def test_a_command_that_draws_holds_the_lock(settings: Settings, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]) -> None:
    monkeypatch.setattr(drawing, "load_settings", lambda: settings)

    @contextmanager
    def lock(name: str) -> Iterator[None]:
        raise ValueError(f"waiting for {name}")
        yield

    monkeypatch.setattr(drawing, "device_lock", lock)
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    assert "waiting for auto" in str(result.exception) + result.output


def test_the_threads_of_a_process_take_turns_on_a_cpu() -> None:
    inside, overlaps, asked = [], [], []

    def work() -> None:
        with device.device_turn("cpu", lambda: asked.append(1)):
            overlaps.append(list(inside))
            inside.append(1)
            time.sleep(0.7)  # s; whoever waits asks twice a second
            inside.clear()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert overlaps == [[], []] and asked


def test_who_waits_for_a_gpu_may_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "gpu_name", lambda name: f"gpu-of-{os.getpid()}")
    asked = []

    def waiting() -> None:
        asked.append(1)
        raise ValueError("not now")

    with device.device_lock("cuda") as held, pytest.raises(ValueError, match="not now"), device.device_turn("cuda", waiting):
        pass
    with device.device_turn("cuda", waiting), pytest.raises(Timeout):
        FileLock(held.lock_file, timeout=0).acquire()
    with FileLock(held.lock_file, timeout=0):
        assert asked == [1]
