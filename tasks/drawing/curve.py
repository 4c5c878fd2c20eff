"""A concept's curves: the geometry of the loss on its page, and the files that `dvc plots` draws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from tasks import artifacts
from tasks.drawing.plots import Axis, spanning
from tasks.inversion.curves import Curve, thinned

SMOOTHED = 10  # the drawn loss is a running mean over a tenth of the steps


@dataclass(frozen=True)
class Guide:
    """What happened at a step of the training; x and text_x in px."""

    name: str
    step: int
    x: float
    text_x: float
    anchor: str


@dataclass(frozen=True)
class LossPlot:
    """The loss of a training over its optimizer steps, in px."""

    width: float
    height: float
    x: Axis
    y: Axis
    loss: str
    """The path of the smoothed loss, in one piece for each phase."""
    fixed: str
    """The path of the loss on the fixed batch; empty where there is none."""
    guides: tuple[Guide, ...]
    ends: Mapping[str, tuple[float, float]]
    """`loss` and, where there is one, `fixed` -> first and last value."""


def loss_plot(curves: Mapping[str, Curve], train: Mapping[str, Any], width: float = 340, height: float = 124) -> LossPlot | None:
    """Lay out the loss of a training, or return None where there is nothing to draw. train: the concept's train.json."""
    loss, fixed = curves.get("loss", ()), curves.get("fixed_batch_loss", ())
    if len(loss) < 2:
        return None
    tuned = train["optimizer_steps"]  # the steps after the word's own tune the denoiser
    phases = [[point for point in loss if (point[0] > tuned) == later] for later in (False, True)]
    smooth = [thinned(smoothed(phase)) for phase in phases if phase]
    x = Axis(0, loss[-1][0], 36, width - 2)
    y = spanning([value for curve in (*smooth, fixed) for _, value in curve], height - 18, 16)
    guides = []
    if "picked" in train and (step := train["picked"]["step"]) < tuned:
        guides.append(Guide("published", step, x.at(step), x.at(step) - 4, "end"))
    if phases[1]:
        guides.append(Guide("tuning", tuned, x.at(tuned), min(x.at(tuned) + 4, width - 36), "start"))
    ends = {"loss": (smooth[0][0][1], smooth[-1][-1][1])} | ({"fixed": (fixed[0][1], fixed[-1][1])} if fixed else {})
    return LossPlot(width, height, x, y, "".join(path_of(curve, x, y) for curve in smooth), path_of(fixed, x, y), tuple(guides), ends)


def smoothed(curve: Curve) -> Curve:
    """Return a curve's running mean; each point is the mean of its neighbours on both sides, of fewer at the ends."""
    sums = [0.0, *accumulate(value for _, value in curve)]
    half = len(curve) // SMOOTHED // 2
    windows = [(max(0, index - half), min(len(curve), index + half + 1)) for index in range(len(curve))]
    return [(step, (sums[end] - sums[start]) / (end - start)) for (step, _), (start, end) in zip(curve, windows, strict=True)]


def path_of(curve: Sequence[tuple[int, float]], x: Axis, y: Axis) -> str:
    """Return the data of the SVG path through a curve's points."""
    return "".join(f"{'L' if index else 'M'}{x.at(step)} {y.at(value)}" for index, (step, value) in enumerate(curve))


def write_curves(concept: str, curves: Mapping[str, Curve]) -> None:
    """Write each curve as a CSV that `dvc plots` draws; their folder is empty for a word without a training."""
    with artifacts.new_folder(artifacts.CURVES / concept) as folder:
        for name, curve in curves.items():
            lines = (f"{step},{value:.6g}\n" for step, value in thinned(curve))
            (folder / f"{name}.csv").write_text("".join((f"step,{name}\n", *lines)), encoding="utf-8", newline="\n")
