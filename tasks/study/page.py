"""docs/study/: the plots, the contact sheets and the table of claims."""

from collections.abc import Sequence
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib

matplotlib.use("svg")
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib import pyplot
from PIL import Image

from tasks import artifacts
from tasks.drawing.plots import grid
from tasks.registry.promotion import SCORES
from tasks.study.cells import Cell, Plan
from tasks.study.claims import decide
from tasks.study.comparisons import COUNTS, MOST_NEEDED, TRAINED, Result, Study, concept_means, interval, value

REFERENCES = {
    "image_only": "Image-Only",
    "prompt_only": "Prompt-Only",
    "coarse_word": "coarse word",
    "human_short": "human, short",
    "human_long": "human, long",
}
AXES = {"reconstruction": "reconstruction: CLIP cosine with the pictures", "editability": "editability: CLIP cosine with the prompts"}
SHOWN = 4  # pictures of each prompt on a contact sheet
SHEET: dict[str, Any] = {"format": "webp", "quality": 90, "method": 6}  # a tenth of a PNG; Git keeps every state of the sheets
# Letters drawn as outlines would differ between machines, and dates and random ids between runs.
pyplot.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "wordmint", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}


def write(folder: Path, plan: Plan, results: Sequence[Result], prompts: Sequence[str], command: str) -> None:
    """Write README.md, plane.svg, sizes.svg and a contact sheet of each setup; the working directory is the study's catalog."""
    study = Study(results)
    folder.mkdir(parents=True, exist_ok=True)
    draw_plane(study, folder / "plane.svg")
    draw_sizes(study, folder / "sizes.svg")
    for setup in study.setups("setup"):
        cells = [Cell("setup", setup, thing, plan.seeds[0]) for thing in plan.things]
        contact_sheet([artifacts.samples(cell.key) / "word" for cell in cells], prompts).save(folder / f"sheet-{setup}.webp", **SHEET)
    for rival in study.setups("rival"):
        cells = [Cell("rival", rival, thing, plan.seeds[0]) for thing in plan.things]
        contact_sheet([artifacts.rival(cell.name) for cell in cells], prompts).save(folder / f"sheet-{rival}.webp", **SHEET)
    shown = {f"sheet-{name}.webp" for kind in ("setup", "rival") for name in study.setups(kind)}
    for sheet in folder.glob("sheet-*.webp"):
        if sheet.name not in shown:  # an earlier study drew it
            sheet.unlink()
    pages = Environment(loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    content = {
        "plan": plan,
        "command": command,
        "date": datetime.now(UTC).date().isoformat(),
        "claims": decide(study),
        "left_out": [setup for setup in plan.setups if not study.of("setup", setup)],
        "rows": [row(study, "setup", setup) for setup in study.setups("setup")],
        "references": references(study),
        "stop": stop_study(study),
        "rivals": [row(study, "rival", rival) for rival in study.setups("rival")],
        "counts": COUNTS,
        "most_needed": MOST_NEEDED,
        "made_by": {"base": results[0].train["base"]["weights_sha256"][:12], "scorer": results[0].scores["scorer"]["weights_sha256"][:12]},
    }
    artifacts.write_bytes(folder / "README.md", pages.get_template("page.md.j2").render(**content).encode())


def row(study: Study, kind: str, setup: str) -> dict[str, Any]:
    """Return the means of a setup or rival over concepts and seeds, with the intervals of its scores."""
    cells = study.of(kind, setup)
    numbers = [(cell.concept, cell.numbers()) for cell in cells]
    means = {name: fmean(of_cell[name] for _, of_cell in numbers) for name in (*TRAINED, "bytes") if name in numbers[0][1]}
    scores = {}
    for score in (*SCORES, "fidelity_edited"):
        seen = [(concept, of_cell[score]) for concept, of_cell in numbers if score in of_cell]  # a catalog may have no judge of fidelity
        scores[score] = interval(concept_means(seen)) if seen else None
    return {"setup": setup, **means, **scores}


def references(study: Study) -> dict[str, dict[str, float | None]]:
    """Return the means of the references over the concepts; a score that was not measured is None."""
    cells = study.of("setup", study.setups("setup")[0])
    means: dict[str, dict[str, float | None]] = {}
    for key, name in REFERENCES.items():
        values = {score: [cell.scores[score][key] for cell in cells if (cell.scores.get(score) or {}).get(key) is not None] for score in SCORES}
        if any(values.values()):
            means[name] = {score: fmean(numbers) if numbers else None for score, numbers in values.items()}
    return means


def stop_study(study: Study) -> list[dict[str, Any]]:
    """Return for each concept how many steps the early stop saved, and the share of each score that it kept."""
    pairs = [(cap, study.cells["stop", "early", cap.concept, cap.seed]) for cap in study.of("stop", "cap")]
    return [
        {
            "concept": cap.concept,
            "cap": cap.train["optimizer_steps"],
            "early": early.train["optimizer_steps"],
            "fewer": cap.train["optimizer_steps"] / early.train["optimizer_steps"],
            **{score: value(score)(early) / value(score)(cap) for score in AXES},
        }
        for cap, early in pairs
    ]


def draw_plane(study: Study, path: Path) -> None:
    """Draw the plane of the paper's Figure 10(a): a cross is the 95 % interval of a setup's mean."""
    figure, axes = pyplot.subplots(figsize=(7.6, 5))
    for number, setup in enumerate(study.setups("setup")):
        drawn = row(study, "setup", setup)
        (x, left, right), (y, low, high) = (drawn[score] for score in AXES)
        bars = {"xerr": [[x - left], [right - x]], "yerr": [[y - low], [high - y]]} if isfinite(left) else {}
        marker = "osD^"[number // 10 % 4]  # matplotlib repeats its colours after ten
        axes.errorbar(x, y, fmt=marker, color=f"C{number}", markersize=5, elinewidth=0.6, label=setup, **bars)
    for name, scores in references(study).items():
        place = [scores[score] for score in AXES]
        if None not in place:
            axes.plot(*place, "k^", markersize=6)
            axes.annotate(name, tuple(place), textcoords="offset points", xytext=(7, -3))
    axes.set(xlabel=AXES["reconstruction"], ylabel=AXES["editability"])
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    save(figure, path)


def draw_sizes(study: Study, path: Path) -> None:
    """Draw the scores against the number of pictures, as the paper's Figure 12 does: a line for each concept, their mean in black."""
    figure, panels = pyplot.subplots(1, 2, figsize=(8.6, 3.4))
    sizes = [int(setup) for setup in study.setups("size")]
    for axes, score in zip(panels, AXES, strict=True):
        lines: dict[str, list[float]] = {}
        for size in sizes:
            for cell in study.of("size", str(size)):
                lines.setdefault(cell.concept, []).append(value(score)(cell))
        for concept, line in lines.items():
            axes.plot(sizes, line, "o-", markersize=3, linewidth=0.9, label=concept)
        axes.plot(sizes, [fmean(column) for column in zip(*lines.values(), strict=True)], "k-", linewidth=2, label="mean")
        axes.set(xscale="log", xlabel="pictures in the set", ylabel=score)
        axes.set_xticks(sizes, map(str, sizes), minor=False)
        axes.minorticks_off()
    panels[-1].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    figure.savefig(path, format="svg", bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)


def contact_sheet(folders: Sequence[Path], prompts: Sequence[str]) -> Image.Image:
    """Return the first pictures of every prompt, without selection: a row for each folder, which has a folder for each prompt."""
    slugs = [artifacts.prompt_slug(prompt) for prompt in prompts]
    paths = [path for folder in folders for slug in slugs for path in sorted((folder / slug).glob("*.png"))[:SHOWN]]
    return grid([Image.open(path).convert("RGB") for path in paths], columns=len(paths) // len(folders))
