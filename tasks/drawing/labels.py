"""Where the names of points go in a plane: beside them, and on nothing else."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

LETTER = 7.0  # px, a generous mean width of a letter at the plane's font size of 12 px
LINE = 14.0  # px
DOT = 5.0  # px, half the side of the square that a point keeps free of labels
DISTANCES = (0.0, 6.0, 14.0, 26.0)  # px from a point to its label
MOST_LABELS = 60  # as many as the plane has room for; the other points show their names under the pointer


@dataclass(frozen=True)
class Box:
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, others: np.ndarray) -> np.ndarray:
        """Return which of the boxes in the rows (left, top, right, bottom) overlap this one: (boxes,)."""
        left, top, right, bottom = others.T
        return (self.left < right) & (left < self.right) & (self.top < bottom) & (top < self.bottom)

    def holds(self, other: "Box") -> bool:
        return self.left <= other.left and other.right <= self.right and self.top <= other.top and other.bottom <= self.bottom


@dataclass(frozen=True)
class Label:
    """Where a text goes: x of its middle, y of its baseline, and whether it is so far from its point that a line must join them."""

    x: float
    y: float
    box: Box
    leader: bool


def around(x: float, y: float, text: str) -> Iterator[tuple[float, Box]]:
    """Yield (distance in px, box) for each place of a label around a point, the nearest first."""
    half = len(text) * LETTER / 2
    for distance in DISTANCES:
        for right, down in ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (1, 1), (-1, -1), (-1, 1)):
            middle_x = x + right * (half + DOT + 2 + distance)
            middle_y = y + down * (LINE / 2 + DOT + distance)
            yield distance, Box(middle_x - half, middle_y - LINE / 2, middle_x + half, middle_y + LINE / 2)


def place_labels(points: Sequence[tuple[float, float]], texts: Sequence[str], frame: Box, avoid: Sequence[Box] = ()) -> list[Label | None]:
    """Place labels beside points so that none covers another, a point or the frame; the MOST_LABELS most isolated points choose, and in that order.

    points: (x, y) in px. avoid: boxes, such as error bars, that a label covers only if no place at its distance is free.
    Returns None for a label that has no place.
    """
    taken = rows([Box(x - DOT, y - DOT, x + DOT, y + DOT) for x, y in points])
    bars = rows(avoid)
    labels: list[Label | None] = [None] * len(texts)
    distances = solitudes(points)
    for index in sorted(range(len(points)), key=lambda index: (-distances[index], index))[:MOST_LABELS]:
        (x, y), reach = points[index], len(texts[index]) * LETTER + LINE + DOT + DISTANCES[-1]
        around_it = Box(x - reach, y - reach, x + reach, y + reach)
        near, near_bars = (boxes[around_it.meets(boxes)] for boxes in (taken, bars))
        places = around(x, y, texts[index])
        free = [(far, box) for far, box in places if frame.holds(box) and not box.meets(near).any()]
        if free:
            far, chosen = min(free, key=lambda place: (place[0], place[1].meets(near_bars).sum()))
            taken = np.vstack([taken, rows([chosen])])
            labels[index] = Label(round((chosen.left + chosen.right) / 2, 1), round(chosen.bottom - 3.5, 1), chosen, far > DISTANCES[1])
    return labels


def rows(boxes: Sequence[Box]) -> np.ndarray:
    """Return boxes as rows (left, top, right, bottom), in px: (boxes, 4)."""
    return np.array([(box.left, box.top, box.right, box.bottom) for box in boxes], dtype=float).reshape(-1, 4)


def solitudes(points: Sequence[tuple[float, float]]) -> list[float]:
    """Return the distance in px from each point to the nearest other one."""
    return list(KDTree(points).query(points, k=2)[0][:, 1]) if points else []
