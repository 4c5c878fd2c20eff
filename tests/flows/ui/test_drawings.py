"""The queue of the playground."""

import itertools
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from flows.ui import drawings
from flows.ui.app import make_app
from flows.ui.drawings import DRAWINGS, SO_FAR, Drawings, picture_of
from flows.ui.guard import Access
from tasks import artifacts
from tasks.pipeline import device
from tasks.settings import Settings
from tasks.using.orders import Drawn, Order


@pytest.fixture
def gate(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Drawings of a plain colour; a picture waits for the gate unless its seed is a multiple of five."""
    opened = threading.Event()

    def carry_out(order: Order, settings: Settings, **files: Any) -> Iterator[Drawn]:
        for seed in order.seeds:
            if seed % 5:
                files["watch"](Image.new("RGB", (4, 4), "grey"))
                assert opened.wait(120)
            if order.prompt == "bad":
                raise ValueError("no such\nword")
            yield Drawn(f"{seed:06d}.png", Image.new("RGB", (4, 4)), {"seed": seed}, {"<fox>": 3})

    monkeypatch.setattr(drawings, "load_settings", lambda: settings)
    monkeypatch.setattr(drawings.orders, "carry_out", carry_out)
    return opened


@pytest.fixture
def queue(gate: threading.Event) -> Iterator[Drawings]:
    with ThreadPoolExecutor(1) as worker:
        yield Drawings(worker)
        gate.set()


def until(queue: Drawings, key: str, **expected: Any) -> dict[str, Any]:
    """Wait until a drawing has these facts."""
    for _ in range(2_000):
        found = queue.find(key)
        if all((len(found[name]) if name == "pictures" else found[name]) == value for name, value in expected.items()):
            return found
        threading.Event().wait(0.005)
    raise AssertionError(f"{found} never had {expected}")


def test_drawings_follow_one_another_and_come_picture_by_picture(queue: Drawings, gate: threading.Event) -> None:
    first, second = (queue.ask(Order(prompt="a dog", number=2, seed=seed), None, None)["id"] for seed in (0, 5))
    assert until(queue, first, state="drawing", pictures=1)["pictures"] == [{"name": "000000.png", "facts": {"seed": 0}, "words": {"<fox>": 3}}]
    assert queue.find(second)["state"] == "queued"
    gate.set()
    until(queue, second, state="done", pictures=2)
    assert [path.name for path in sorted((DRAWINGS / second).glob("*.png"))] == ["000005.png", "000006.png"]
    assert picture_of(queue, second, "000005.png") == DRAWINGS / second / "000005.png"
    assert picture_of(queue, second, "../recipe.json") is None


def test_a_picture_is_seen_before_it_is_finished(queue: Drawings, gate: threading.Event) -> None:
    key = queue.ask(Order(prompt="a dog", number=1, seed=1), None, None)["id"]
    until(queue, key, state="drawing", looks=1, pictures=0)
    shown = picture_of(queue, key, SO_FAR)
    assert shown and Image.open(shown).getpixel((0, 0)) == (128, 128, 128)
    app = make_app(Access(), ThreadPoolExecutor(1))
    app.state.drawings, client = queue, TestClient(app, base_url="http://127.0.0.1")
    asked = [f"/pictures/drawings/{key}/{SO_FAR}", f"/pictures/drawings/{key}/000001.png", f"/pictures/drawings/none/{SO_FAR}"]
    assert [client.get(address).status_code for address in asked] == [200, 404, 404]
    gate.set()
    assert until(queue, key, state="done", pictures=1)["looks"] == 0
    assert [client.get(address).status_code for address in asked] == [204, 200, 404]  # a page may ask when the picture is just finished


def test_a_cancelled_drawing_ends_and_the_next_begins(queue: Drawings, gate: threading.Event) -> None:
    first, second, third = (queue.ask(Order(prompt="a dog", number=3), None, None)["id"] for _ in range(3))
    until(queue, first, state="drawing", pictures=1)
    for key in (first, second):
        queue.cancel(key)
    gate.set()
    until(queue, third, state="done", pictures=3)
    assert (queue.find(first)["state"], len(queue.find(first)["pictures"])) == ("cancelled", 1)
    assert (queue.find(second)["state"], queue.find(second)["pictures"]) == ("cancelled", [])


def test_a_cancelled_drawing_does_not_wait_for_the_gpu(queue: Drawings, gate: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    gate.set()
    monkeypatch.setattr(device, "gpu_name", lambda name: f"gpu-of-{os.getpid()}")
    let_go = []
    monkeypatch.setattr(drawings, "let_go", let_go.append)
    with device.device_lock("cuda"):
        first, second = (queue.ask(Order(prompt="a dog", number=1), None, None)["id"] for _ in range(2))
        while not let_go:
            threading.Event().wait(0.01)
        assert queue.find(first)["state"] == "queued"
        queue.cancel(first)
        queue.cancel(second)
        queue.worker.submit(lambda: None).result(120)  # behind both
    third = queue.ask(Order(prompt="a dog", number=1), None, None)["id"]
    until(queue, third, state="done", pictures=1)
    assert not list((DRAWINGS / first).glob("*.png"))


def test_candidates_are_cancelled_before_all_are_drawn(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, count = threading.Event(), itertools.count()

    def imagine_pictures(prompt: str, seeds: list[int], *arguments: Any) -> Iterator[Image.Image]:
        for _ in seeds:
            next(count)
            begun.set()
            threading.Event().wait(0.01)
            yield Image.new("RGB", (4, 4))

    monkeypatch.setattr(drawings, "load_settings", lambda: settings)
    monkeypatch.setattr("tasks.using.imagine.imagine_pictures", imagine_pictures)
    with ThreadPoolExecutor(1) as worker:
        queue = Drawings(worker)
        key = queue.ask(Order(prompt="a dog", number=1, candidates=1_000), None, None)["id"]
        assert begun.wait(120)
        queue.cancel_all()
    assert queue.find(key)["state"] == "cancelled" and next(count) < 900


def test_a_gpu_is_let_go_when_nothing_was_drawn_for_a_while(queue: Drawings, gate: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    gate.set()
    free = threading.Event()
    monkeypatch.setattr(drawings, "gpu_name", lambda device: "a GPU")
    monkeypatch.setattr(drawings, "let_go", lambda device: free.set())
    monkeypatch.setattr(drawings, "IDLE", 0.01)
    queue.ask(Order(prompt="a dog", number=1), None, None)
    assert free.wait(120)


def test_an_error_is_one_line_and_stops_nothing(queue: Drawings, gate: threading.Event) -> None:
    gate.set()
    bad, good = (queue.ask(Order(prompt=prompt, number=1), None, None)["id"] for prompt in ("bad", "good"))
    until(queue, good, state="done")
    assert (queue.find(bad)["state"], queue.find(bad)["error"]) == ("failed", "no such word")


def test_a_watcher_is_told_what_changed_since(queue: Drawings, gate: threading.Event) -> None:
    gate.set()
    first = queue.ask(Order(prompt="a dog", number=1), None, None)["id"]
    seen = until(queue, first, state="done")["change"]
    assert queue.latest(seen) == []
    second = queue.ask(Order(prompt="a cat", number=1), None, None)["id"]
    until(queue, second, state="done")
    assert [one["id"] for one in queue.latest(seen)] == [second]
    assert [one["id"] for one in queue.latest()] == [first, second]


def test_drawings_outlive_the_app(queue: Drawings, gate: threading.Event) -> None:
    gate.set()
    done = queue.ask(Order(prompt="a dog", number=1), None, None)["id"]
    until(queue, done, state="done")
    artifacts.write_json(DRAWINGS / "20990101" / "recipe.json", queue.find(done) | {"id": "20990101", "state": "drawing"})
    with ThreadPoolExecutor(1) as worker:
        again = Drawings(worker)
    assert again.find(done)["order"]["prompt"] == "a dog" and again.find(done)["state"] == "done"
    assert again.find("20990101")["state"] == "cancelled"


def test_old_drawings_are_forgotten(queue: Drawings, gate: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawings, "KEPT", 2)
    gate.set()
    keys = []
    for _ in range(4):
        keys.append(queue.ask(Order(prompt="a dog", number=1), None, None)["id"])
        until(queue, keys[-1], state="done")
    assert [one["id"] for one in queue.latest()] == keys[2:]
    assert sorted(path.name for path in DRAWINGS.iterdir()) == keys[2:]
