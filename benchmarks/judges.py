"""Whether the judges see what eyes see: `python -m benchmarks.judges [--sheet FILE] [--json]`.

A triple is a training picture and two samples of words of one concept, at different stages of training or of different methods. Eyes said which
sample shows the same thing; `benchmarks/triples/README.md` says whose. A judge agrees if that sample has the larger cosine with the training picture.
"""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
import typer
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.result import Row, machine, show
from tasks.settings import load_settings
from tasks.similarity.eye import load_eye
from tasks.similarity.scorer import load_scorer
from tasks.similarity.scores import bootstrap

FOLDER = Path(__file__).with_name("triples")
SIDE = 64  # px
Features = Callable[[Sequence[Image.Image]], Tensor]


class Triple(NamedTuple):
    """Numbers of pictures in the sheet, and the letter of the sample that eyes chose."""

    set: str
    """test or development; benchmarks/triples/README.md says what each was used for."""
    concept: str
    prompt: str
    training: int
    a: int
    b: int
    way_a: str
    way_b: str
    choice: str


def read_triples() -> tuple[list[Triple], list[Image.Image]]:
    """Return the triples and the pictures that they number."""
    with (FOLDER / "triples.csv").open(encoding="utf-8", newline="") as file:
        numbers = ("training", "a", "b")
        rows = [Triple._make(int(row[name]) if name in numbers else row[name] for name in Triple._fields) for row in csv.DictReader(file)]
    sheet = Image.open(FOLDER / "pictures.webp").convert("RGB")
    places = [(x, y) for y in range(0, sheet.height, SIDE) for x in range(0, sheet.width, SIDE)]
    return rows, [sheet.crop((x, y, x + SIDE, y + SIDE)) for x, y in places]


def chosen(features: Tensor, triples: Sequence[Triple]) -> list[str]:
    """Return the letter of the sample that is nearer to each triple's training picture: features (pictures, dim)."""
    return ["a" if features[row.training] @ features[row.a] > features[row.training] @ features[row.b] else "b" for row in triples]


def agreement(choices: Sequence[str], triples: Sequence[Triple]) -> tuple[float, float, float]:
    """Return the share of triples in which a judge agrees with eyes, with its 95 % interval (bootstrap over triples), in percent."""
    right = torch.tensor([choice == row.choice for choice, row in zip(choices, triples, strict=True)]).double()
    value, low, high = bootstrap(lambda groups: 100 * float(groups[0].mean()), [right], samples=1000, confidence=0.95, seed=0)
    return value, low, high


def draw_sheet(triples: Sequence[Triple], pictures: Sequence[Image.Image], choices: dict[str, list[str]], count: int = 10) -> Image.Image:
    """Draw triples, evenly spread, with the choice of eyes and of each judge under them."""
    scale, line = 2, 16
    shown = np.linspace(0, len(triples) - 1, count).astype(int)
    wide, high = 3 * (SIDE * scale + 4) + 24, SIDE * scale + (len(choices) + 1) * line + 14
    sheet = Image.new("RGB", (5 * wide, -(-count // 5) * high), "white")
    draw = ImageDraw.Draw(sheet)
    for place, index in enumerate(shown):
        row, left, top = triples[index], place % 5 * wide + 8, place // 5 * high + 6
        for column, number in enumerate((row.training, row.a, row.b)):
            sheet.paste(pictures[number].resize((SIDE * scale,) * 2, Image.Resampling.BICUBIC), (left + column * (SIDE * scale + 4), top))
        for number, (judge, letters) in enumerate({"eyes": [row.choice for row in triples], **choices}.items()):
            colour = "black" if letters[index] == row.choice else "firebrick"
            said = f"{judge}: {'left' if letters[index] == 'a' else 'right'}"
            draw.text((left, top + SIDE * scale + 3 + number * line), said, fill=colour, font_size=13)
    return sheet


def main(
    sheet: Annotated[Path | None, typer.Option(help="where to draw ten triples with what each judge says")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Measure how often each judge of params.yaml agrees with eyes."""
    settings, (triples, pictures) = load_settings(), read_triples()
    if settings.score.fidelity is None:
        raise typer.BadParameter("score.fidelity is null in params.yaml; name the judge that is to be compared")
    judges: dict[str, Features] = {
        "CLIP": load_scorer(settings.scorer.model, settings.scorer.pretrained, "cpu").image_features,
        "fidelity": load_eye(settings.score.fidelity.model, settings.score.fidelity.revision, "cpu").image_features,
    }
    choices = {name: chosen(features(pictures), triples) for name, features in judges.items()}
    test = [index for index, row in enumerate(triples) if row.set == "test"]
    if sheet:
        shown = {name: [letters[index] for index in test] for name, letters in choices.items()}
        draw_sheet([triples[index] for index in test], pictures, shown).save(sheet)
    if as_json:
        found = {name: agreement([letters[index] for index in test], [triples[index] for index in test])[0] for name, letters in choices.items()}
        return show("judges", [Row(f"agreement with eyes, {len(test)} triples", found["fidelity"], found["CLIP"], "percent")], "CLIP", as_json)
    title = f"triples in which a judge agrees with eyes, percent; {machine()}"
    table = Table("triples", "number", *(f"{name}, 95 %" for name in judges), title=title)
    names = {name for row in triples for name in (row.set, row.concept)}
    groups = {name: [index for index, row in enumerate(triples) if name in (row.set, row.concept)] for name in names}
    for name, rows in sorted(groups.items(), key=lambda group: (triples[group[1][0]].set != "test", -len(group[1]))):
        own = [triples[index] for index in rows]
        shares = [agreement([letters[index] for index in rows], own) for letters in choices.values()]
        table.add_row(name, str(len(rows)), *(f"{value:.1f} [{low:.0f}, {high:.0f}]" for value, low, high in shares))
    console = Console(width=120)
    console.print(table)
    one, other = choices.values()
    same = [index for index in test if one[index] == other[index]]
    right = sum(one[index] == triples[index].choice for index in same) / len(same)
    console.print(
        f"Both judges choose the same sample in {len(same) / len(test):.0%} of the test triples, and {right:.0%} of these choices are right."
    )


if __name__ == "__main__":
    typer.run(main)
