"""Small pictures of a version's samples, which are published with it."""

from pathlib import Path

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
