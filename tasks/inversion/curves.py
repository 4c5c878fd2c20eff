"""The curves of a training by optimizer step, as the file training.csv: loss, norm, the looks of an early stop and the probes."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # reading a file needs no torch
    from tasks.inversion.schedule import Schedule

TRAINING = "training.csv"  # beside the embedding
COLUMNS = ("loss", "norm", "fixed_batch_loss", "reconstruction", "editability", "score")
MOST_POINTS = 200
"""Points of a curve that is drawn or logged."""

Curve = Sequence[tuple[int, float]]
"""(optimizer step, value), the first step first."""


def curves_csv(schedules: Sequence["Schedule"]) -> bytes:
    """Return training.csv for the schedules of a training's phases; a later phase counts its steps on. Without schedules it is only the header."""
    rows, before = dict[int, dict[str, float]](), 0
    for schedule in schedules:
        for step, loss, norm in schedule.recorded:
            rows.setdefault(before + step, {}).update(loss=loss, norm=norm)
        for step, loss in schedule.looks:
            rows.setdefault(before + step, {}).update(fixed_batch_loss=loss)
        for probe in schedule.probes:
            rows.setdefault(before + int(probe["step"]), {}).update({name: value for name, value in probe.items() if name in COLUMNS})
        before += schedule.step
    text = io.StringIO()
    writer = csv.DictWriter(text, ("step", *COLUMNS), lineterminator="\n")
    writer.writeheader()
    for step, row in sorted(rows.items()):
        writer.writerow({"step": step} | {name: f"{value:.6g}" for name, value in row.items()})
    return text.getvalue().encode()


def read_curves(path: Path) -> dict[str, Curve]:
    """Return column -> its curve, for the columns of a training.csv that have values; earlier builds left no file, and imported words no values."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    curves = {name: [(int(row["step"]), float(row[name])) for row in rows if row[name]] for name in COLUMNS}
    return {name: curve for name, curve in curves.items() if curve}


def thinned(curve: Curve) -> Curve:
    """Return a curve with at most MOST_POINTS points, each the mean of as many neighbours, at the last one's step."""
    size = -(-len(curve) // MOST_POINTS) or 1
    groups = [curve[start : start + size] for start in range(0, len(curve), size)]
    return [(group[-1][0], fmean(value for _, value in group)) for group in groups]
