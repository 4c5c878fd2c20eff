"""Small pictures of a version's samples and of the pictures that it was learned from, which are published with it."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from tasks import artifacts
from tasks.drawing import plots
from tasks.registry.description import OVERVIEW
from tasks.registry.reading import SHEETS

SHEET = 8  # pictures per prompt that are published with a version
SHEET_SIDE = 128  # px of each picture
LINE = 24  # px of a line of text


def draw_published(concept: str, samples: Path, word: str, folder: Path) -> Path:
    """Write the pictures that are published with a version, by their paths among its run's artifacts, and return the folder."""
    (folder / SHEETS).mkdir()
    draw_sheets(samples, folder / SHEETS)
    draw_overview(artifacts.curated(concept), samples, word, folder)
    return folder


def draw_overview(curated: Path, samples: Path, word: str, folder: Path) -> None:
    """Write one picture of the training pictures and, below them, of the first row of each sheet that `draw_sheets` left, under its prompt."""
    rows = [("training pictures", plots.sheet(paths, SHEET_SIDE))] if (paths := sorted(curated.glob("*.png"))[:SHEET]) else []
    for prompt in artifacts.read_json(samples / "samples.json")["prompts"]:
        if (path := folder / SHEETS / f"{prompt['slug']}.webp").exists():
            with Image.open(path) as opened:
                rows.append((prompt["prompt"].replace("{}", word), opened.convert("RGBA").crop((0, 0, opened.width, plots.pitch(SHEET_SIDE)))))
    if rows:
        drawn = Image.new("RGB", (max(sheet.width for _, sheet in rows), sum(LINE + sheet.height for _, sheet in rows)), "white")
        pen, font, top = ImageDraw.Draw(drawn), ImageFont.load_default(14), 0
        for text, sheet in rows:
            pen.text((2, top + 4), text, "black", font)
            drawn.paste(sheet, (0, top + LINE), sheet)
            top += LINE + sheet.height
        drawn.save(folder / OVERVIEW, quality=85)


def draw_sheets(samples: Path, folder: Path) -> Path:
    """Write one small picture per prompt of a samples folder, named by the prompt, which `wordmint diff` shows later."""
    for prompt in artifacts.read_json(samples / "samples.json")["prompts"]:
        if paths := sorted((samples / "word" / prompt["slug"]).glob("*.png"))[:SHEET]:
            plots.sheet(paths, SHEET_SIDE).save(folder / f"{prompt['slug']}.webp", quality=85)
    return folder


def cut_sheet(sheet: Path, folder: Path) -> list[Path]:
    """Write each picture of a sheet that `draw_sheets` drew to a file of its own and return the files in the sheet's order."""
    with Image.open(sheet) as opened:
        drawn = opened.convert("RGBA")
    step, paths = plots.pitch(SHEET_SIDE), list[Path]()
    for top in range(0, drawn.height, step):
        for left in range(0, drawn.width, step):
            cell = drawn.crop((left, top, left + SHEET_SIDE, top + SHEET_SIDE))
            if cell.getchannel("A").getextrema() != (0, 0):  # the last row's empty cells are transparent
                paths.append(folder / f"{sheet.stem}-{len(paths)}.png")
                cell.convert("RGB").save(paths[-1])
    return paths
