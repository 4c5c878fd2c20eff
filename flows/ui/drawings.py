"""The playground's drawings: a queue of orders, carried out one at a time by the process that has the model in memory."""

import itertools
import logging
import secrets
import shutil
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.ui.memory import let_go
from flows.ui.uploads import upload
from tasks import artifacts
from tasks.pipeline.device import device_turn, gpu_name
from tasks.pipeline.door import MENDABLE
from tasks.settings import Settings, load_settings
from tasks.using import orders
from tasks.using.orders import Order

if TYPE_CHECKING:  # the app answers before Pillow is needed
    from PIL import Image

log = logging.getLogger(__name__)
DRAWINGS = artifacts.CACHE / "drawings"
RECIPE = "recipe.json"
SO_FAR = "so-far.png"
"""What the picture that is drawn looks like."""
KEPT = 200
"""The drawings that are kept; older ones are deleted."""
AT_ONCE = 8  # pictures; what is given up ends with its batch
OPEN = ("queued", "drawing")
IDLE = 60  # s without a drawing, after which a GPU's memory is free for others


class Cancelled(Exception):
    """The drawing is not wanted any more."""


class Drawings:
    """The drawings of a catalog, those of earlier runs of the app included."""

    def __init__(self, worker: ThreadPoolExecutor) -> None:
        self.worker = worker
        self.lock = threading.Lock()
        self.changes = itertools.count(1)
        self.known: dict[str, dict[str, Any]] = {}
        self.idle = threading.Timer(0, let_go)
        for path in sorted(DRAWINGS.glob(f"*/{RECIPE}")):
            recipe = artifacts.read_json(path)
            if recipe["state"] in OPEN:
                recipe |= {"state": "cancelled", "error": "the app ended before this was drawn"}
            self.known[recipe["id"]] = recipe | {"change": 0}

    def latest(self, after: int = -1) -> list[dict[str, Any]]:
        """Return the drawings that changed after a change, by default all, the oldest first."""
        with self.lock:
            return [dict(recipe) for recipe in self.known.values() if recipe["change"] > after]

    def find(self, key: str) -> dict[str, Any]:
        """Return a drawing; raise a KeyError if there is none."""
        with self.lock:
            return dict(self.known[key])

    def ask(self, order: Order, picture: str | None, mask: str | None) -> dict[str, Any]:
        """Put an order into the queue and return its drawing. picture, mask: ids of uploads."""
        at = datetime.now(UTC)
        key = f"{at:%Y%m%dT%H%M%S%f}-{secrets.token_hex(3)}"
        files = {name: upload(given) for name, given in (("picture", picture), ("mask", mask)) if given}
        for name, file in files.items():
            artifacts.write_bytes(DRAWINGS / key / f"{name}.upload", file.read_bytes())
        recipe = {"id": key, "at": at.isoformat(timespec="seconds"), "order": order.model_dump(), "files": sorted(files)}
        with self.lock:
            self.known[key] = recipe | {"state": "queued", "pictures": [], "looks": 0, "error": None, "change": next(self.changes)}
        self.forget_old()
        self.worker.submit(self.carry_out, key, order)
        return self.find(key)

    def update(self, key: str, **facts: Any) -> None:
        """Change what is known of a drawing, unless it was cancelled."""
        with self.lock:
            recipe = self.known[key]
            if recipe["state"] == "cancelled":
                return
            recipe |= facts | {"change": next(self.changes)}
            stored = {name: value for name, value in recipe.items() if name != "change"}
            artifacts.write_json(DRAWINGS / key / RECIPE, stored)  # before anybody sees the change

    def cancel(self, key: str) -> None:
        """Cancel a drawing that is not finished; one at work ends with its batch of pictures."""
        if self.find(key)["state"] in OPEN:
            self.update(key, state="cancelled")

    def cancel_all(self) -> None:
        self.idle.cancel()
        for recipe in self.latest():
            self.cancel(recipe["id"])

    def go_on(self, key: str) -> None:
        """Raise Cancelled if a drawing was cancelled, or even forgotten."""
        with self.lock:
            if self.known.get(key, {"state": "cancelled"})["state"] == "cancelled":
                raise Cancelled

    def carry_out(self, key: str, order: Order) -> None:
        """Draw, until the drawing is cancelled."""
        self.idle.cancel()
        try:
            self.go_on(key)
            settings = load_settings()
            try:
                self.draw(key, order, settings)
            finally:
                self.rest(settings.runtime.device)
        except Cancelled:
            pass
        except MENDABLE as error:
            self.update(key, state="failed", error=" ".join(str(error).split()))
        except Exception as error:  # the app goes on with the next drawing
            log.exception("drawing %s failed", key)
            self.update(key, state="failed", error=f"{type(error).__name__}: {error}")

    def draw(self, key: str, order: Order, settings: Settings) -> None:
        """Draw as soon as the device is free; raise Cancelled when the drawing is cancelled, before that too."""
        device = settings.runtime.device

        def waiting() -> None:
            self.go_on(key)
            let_go(device)  # whoever has a GPU needs its memory

        with device_turn(device, waiting), closing(self.drawn(key, order, settings)) as pictures:
            self.update(key, state="drawing")
            self.go_on(key)
            for entry in pictures:
                self.go_on(key)
                self.update(key, pictures=[*self.find(key)["pictures"], entry], looks=0)
        self.update(key, state="done")

    def rest(self, device: str) -> None:
        """Let go of a GPU's memory when nothing was drawn for a while; loading a model for every drawing takes longer than many a drawing."""
        if gpu_name(device):
            self.idle = threading.Timer(IDLE, self.worker.submit, [let_go, device])
            self.idle.daemon = True
            self.idle.start()

    def drawn(self, key: str, order: Order, settings: Settings) -> Generator[dict[str, Any]]:
        """Yield {name, facts, words} of each picture when its file is written."""
        files = {name: DRAWINGS / key / f"{name}.upload" for name in self.find(key)["files"]}
        settings = few_at_once(settings)
        try:
            for part in parts(order, settings):
                for picture in orders.carry_out(part, settings, **files, watch=partial(self.look, key), check=partial(self.go_on, key)):
                    orders.keep(picture, order, DRAWINGS / key, settings)
                    yield {"name": picture.name, "facts": picture.facts, "words": dict(picture.words)}
        finally:
            (DRAWINGS / key / SO_FAR).unlink(missing_ok=True)

    def look(self, key: str, so_far: "Image.Image") -> None:
        """Show what the picture that is drawn looks like, until it is finished."""
        self.go_on(key)
        data = BytesIO()
        so_far.save(data, "PNG")
        artifacts.write_bytes(DRAWINGS / key / SO_FAR, data.getvalue())
        self.update(key, looks=self.find(key)["looks"] + 1)

    def forget_old(self) -> None:
        """Delete the oldest drawings beyond those that are kept."""
        with self.lock:
            ended = [key for key, recipe in self.known.items() if recipe["state"] not in OPEN]
            old = ended[: max(0, len(self.known) - KEPT)]
            for key in old:
                del self.known[key]
        for key in old:
            shutil.rmtree(DRAWINGS / key, ignore_errors=True)


def few_at_once(settings: Settings) -> Settings:
    """Return settings with which pictures are drawn in small batches."""
    few = settings.runtime.model_copy(update={"pictures_per_batch": min(AT_ONCE, settings.runtime.pictures_per_batch)})
    return settings.model_copy(update={"runtime": few})


def picture_of(drawings: Drawings, key: str, name: str) -> Path | None:
    """Return the file of a drawing's picture by its name, or None if the drawing has none of this name."""
    names = [SO_FAR, *(entry["name"] for entry in drawings.find(key)["pictures"])]
    return DRAWINGS / key / name if name in names else None


def parts(order: Order, settings: Settings) -> list[Order]:
    """Return an order in two parts on a CPU, so that a person sees the first picture before the others are drawn together; else as it is."""
    together = order.candidates or order.kind == "reimagine" or order.number == 1
    if together or gpu_name(settings.runtime.device):
        return [order]
    return [order.model_copy(update={"number": 1}), order.model_copy(update={"number": order.number - 1, "seed": order.seed + 1})]
