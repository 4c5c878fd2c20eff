"""Small pictures of a version's samples, which are published with it."""

from pathlib import Path

from PIL import Image

from tasks import artifacts
from tasks.drawing import plots

SHEET = 8  # pictures per prompt that are published with a version
SHEET_SIDE = 128  # px of each picture


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
