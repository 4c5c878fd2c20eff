"""The report's sprites and the geometry of its plots; the template draws the plots, so that every text in them is escaped."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from PIL import Image

from tasks.concepts.stand_ins import STAND_INS
from tasks.drawing.labels import Box, Label, place_labels
from tasks.registry.promotion import SCORES, measured

BOUNDS = {"prompt_only": "Prompt-Only", "image_only": "Image-Only"}  # keys of a score record -> the paper's names, section 5.1
COLUMNS = 4  # pictures in a row of a sprite; the page sets rows beside each other where there is room


@dataclass(frozen=True)
class Axis:
    """A linear scale from values to pixels; `start` may be right of `end`, or below it."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return the pixel of a value, to a tenth."""
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)

    def ticks(self, count: int) -> list[float]:
        """Return about `count` round values inside the scale: multiples of 1, 2 or 5 times a power of ten."""
        raw = (self.high - self.low) / count
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
        return [round(index * step, 10) for index in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def spanning(values: Iterable[float], start: float, end: float, margin: float = 0.06) -> Axis:
    """Return the axis that shows all values; `margin` is a fraction of their range that is added at both ends."""
    values = list(values)
    low, high = min(values), max(values)
    pad = (high - low) * margin or 0.01
    return Axis(low - pad, high + pad, start, end)


@dataclass(frozen=True)
class Interval:
    """A score and its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Point:
    """A concept in the plane, in px; its cross spans left to right and bottom to top."""

    key: str
    x: float
    y: float
    left: float
    right: float
    bottom: float
    top: float
    label: Label | None


@dataclass(frozen=True)
class Plane:
    """The reconstruction-editability plane."""

    width: float
    height: float
    x: Axis
    y: Axis
    points: list[Point]
    guides: list[Point]


def plane(
    concepts: Sequence[tuple[str, Interval, Interval]], guides: Sequence[tuple[str, float, float]], width: float = 1056, height: float = 560
) -> Plane:
    """Lay out the plane of concepts (key, reconstruction, editability) and guides (name, reconstruction, editability); sizes in px."""
    exact = [(name, Interval(x, x, x), Interval(y, y, y)) for name, x, y in guides]
    every = [*exact, *concepts]
    x = spanning([end for _, score, _ in every for end in (score.low, score.high)], 44, width - 8)
    y = spanning([end for _, _, score in every for end in (score.low, score.high)], height - 44, 30)
    frame = Box(x.start + 2, y.end + 2, x.end - 2, y.start - 2)
    spots = [(x.at(across.value), y.at(up.value)) for _, across, up in every]
    bars = [Box(x.at(across.low), y.at(up.value) - 1, x.at(across.high), y.at(up.value) + 1) for _, across, up in every]
    bars += [Box(x.at(across.value) - 1, y.at(up.high), x.at(across.value) + 1, y.at(up.low)) for _, across, up in every]
    bars += [Box(frame.left, y.at(up) - 1, frame.right, y.at(up) + 1) for _, _, up in guides]
    bars += [Box(x.at(across) - 1, frame.top, x.at(across) + 1, frame.bottom) for _, across, _ in guides]
    labels = place_labels(spots, [name for name, _, _ in every], frame, bars)
    points = [
        Point(name, *spot, x.at(across.low), x.at(across.high), y.at(up.low), y.at(up.high), label)
        for (name, across, up), spot, label in zip(every, spots, labels, strict=True)
    ]
    return Plane(width, height, x, y, points[len(exact) :], points[: len(exact)])


@dataclass(frozen=True)
class Bound:
    """An end of a bullet's line: the px of the end and of the middle of its text."""

    name: str
    value: float
    x: float
    text_x: float


@dataclass(frozen=True)
class Bullet:
    """A score between its bounds on one line, in px."""

    width: float
    x: float
    low: float
    high: float
    references: tuple[tuple[str, float, float], ...]
    """(name, value, px) of each stand-in for the word that was measured."""
    bounds: tuple[Bound, Bound]


def bullet(score: dict[str, float | None], axis: Axis) -> Bullet:
    """Lay out one score of a score record on an axis from 0 to its width, the lower bound first."""
    measured = {name: value for name, value in score.items() if value is not None}
    ends = sorted((measured[bound], name) for bound, name in BOUNDS.items())
    half = 52.0  # px, half the width of "Prompt-Only 0.123"
    left = min(max(axis.at(ends[0][0]), half), axis.end - 3 * half)
    right = max(min(axis.at(ends[1][0]), axis.end - half), left + 2 * half)
    bounds = tuple(Bound(name, value, axis.at(value), text_x) for (value, name), text_x in zip(ends, (left, right), strict=True))
    x, low, high = (axis.at(measured[name]) for name in ("value", "low", "high"))
    references = tuple((label, measured[name], axis.at(measured[name])) for name, label in STAND_INS.items() if name in measured)
    return Bullet(axis.end, x, low, high, references, (bounds[0], bounds[1]))


def planes(cards: Sequence[dict[str, Any]]) -> dict[str, Plane]:
    """Lay out the concepts of cards in planes for wide and narrow screens."""
    if not cards:
        return {}
    names, scores = SCORES[:2], [card["scores"] for card in cards]
    intervals = [{name: Interval(*(score[name][end] for end in ("value", "low", "high"))) for name in names} for score in scores]
    points = [(card["key"], by_name["reconstruction"], by_name["editability"]) for card, by_name in zip(cards, intervals, strict=True)]
    mean = {(name, bound): fmean(score[name][bound] for score in scores) for name in names for bound in BOUNDS}
    guides = [(label, mean["reconstruction", bound], mean["editability", bound]) for bound, label in BOUNDS.items()]
    return {"wide": plane(points, guides), "narrow": plane(points, guides, width=350, height=400)}


def bullets(score: dict[str, Any]) -> dict[str, Bullet]:
    """Lay out each score of a score record on a scale of its own, from the lowest of its numbers to the highest."""
    return {name: bullet(score[name], spanning([value for value in score[name].values() if value is not None], 0, 340)) for name in measured(score)}


def pitch(side: int) -> int:
    """Return the distance of neighbours in a sheet: a transparent gap keeps them apart even if a browser rounds their positions."""
    return side + max(1, side // 32)


def sheet(pictures: Sequence[Path], side: int) -> Image.Image:
    """Draw pictures in rows, resized to `side` px."""
    step = pitch(side)
    drawn = Image.new("RGBA", (COLUMNS * step, -(-len(pictures) // COLUMNS) * step))
    for index, path in enumerate(pictures):
        with Image.open(path) as picture:
            small = picture.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
        drawn.paste(small, (index % COLUMNS * step, index // COLUMNS * step))
    return drawn


def grid(pictures: list[Image.Image], columns: int = 8) -> Image.Image:
    """Return pictures side by side, left to right and top to bottom."""
    width, height = pictures[0].size
    sheet = Image.new("RGB", (width * min(columns, len(pictures)), height * -(-len(pictures) // columns)), "white")
    for index, picture in enumerate(pictures):
        sheet.paste(picture, (index % columns * width, index // columns * height))
    return sheet
