"""Words for things that nothing was tuned on: `python -m benchmarks.held_out [--art FOLDER] [--sheet FILE] [--json]`.

The nouns that the generator never saw and that the catalog does not ship are learned as params.yaml says, from five pictures each. Two judges that
learn nothing then say whether the thing's sprite is among the five of 238 nouns that are nearest to a sample.
"""

import os
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from benchmarks.base_model import ArtFolder
from benchmarks.hand_judges import judge_by_histograms, judge_by_pixels
from benchmarks.methods import trained
from benchmarks.result import Row, show
from tasks import artifacts
from tasks.curate import curate
from tasks.diffusion.base_model import load_base_model
from tasks.diffusion.ddim import generate
from tasks.documents import as_yaml
from tasks.drawing.plots import grid
from tasks.pretraining import art
from tasks.pretraining.examples import draw_set
from tasks.pretraining.nouns import ALL_NOUNS
from tasks.pretraining.scenes import SCENES
from tasks.settings import Concept, Settings, load_settings
from tasks.words.learned import taught

STARTS = {
    "cactus": "pine",
    "castle": "house",
    "crown": "hat",
    "drum": "bucket",
    "guitar": "violin",
    "hammer": "axe",
    "sailboat": "canoe",
    "snowman": "ghost",
    "strawberry": "tomato",
}
"""Held-out noun -> an ordinary word close in meaning."""
PLACES = (
    ("plain", "plain", "grass", "blue", "beach"),
    ("plain", "plain", "green", "city", "snow"),
    ("plain", "plain", "desert", "yellow", "night"),
    ("forest", "snow", "plain", "sky", "pink"),
)
"""The scenes of a thing's pictures; the things take them in turn."""


def lay_out(art_folder: Path, settings: Settings) -> Settings:
    """Draw and curate the picture sets in the current folder, and return settings that have their concepts."""
    words = {noun: Concept(kind="object", placeholder_token=f"<{noun}>", initializer_token=start) for noun, start in STARTS.items()}
    settings = settings.model_copy(update={"concepts": words})
    for number, noun in enumerate(STARTS):
        scenes = PLACES[number % len(PLACES)]
        draw_set(art_folder, artifacts.images(noun), "fluent", [(noun, scene) for scene in scenes], 500 + number)
        contexts = {f"{index}.png": SCENES[scene][0] for index, scene in enumerate(scenes, start=1) if SCENES[scene][0]}
        (artifacts.images(noun) / "captions.yaml").write_text(as_yaml({"context": contexts}), encoding="utf-8")
        curate.fn(noun, settings)
    return settings


def main(
    art_folder: ArtFolder = art.ART_FOLDER,
    pictures: Annotated[int, typer.Option(help="samples of each thing")] = 16,
    sheet: Annotated[Path | None, typer.Option(help="where to draw the samples, one row for each thing")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Learn the held-out things and say how many samples show them."""
    art.fetch(art_folder)
    art_folder, sheet, here = art_folder.absolute(), sheet and sheet.absolute(), Path.cwd()
    settings = load_settings()
    base = load_base_model(*settings.base_model)
    rules, drawn = settings.sample, dict[str, list[Image.Image]]()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "data").mkdir()
        (Path(folder) / "data/base").symlink_to((here / "data/base").absolute())
        os.chdir(folder)
        for noun, training in trained(base, lay_out(art_folder, settings), list(STARTS), rules.seed, {}).items():
            if training.result is None:
                raise ValueError(f"{noun} was not learned: {training.error}")
            learned, texts = training.result.on_the_cpu(), [rules.prompts.object[0].format(f"<{noun}>")] * pictures
            with taught(base, [learned]) as words:
                seeds = list(range(pictures))
                steps, guidance = rules.look(base.look)
                drawn[noun] = list(generate(base, texts, seeds, words, steps, guidance, settings.runtime.pictures_per_batch))
        os.chdir(here)
    if sheet:
        grid([picture for row in drawn.values() for picture in row], pictures).save(sheet)
    sprites = [Image.fromarray(sprite) for sprite in art.load_sprites(art_folder, "fluent")[: len(ALL_NOUNS)]]
    shares: dict[str, list[float]] = {}
    for noun, samples in drawn.items():
        likenesses = [judge(samples, sprites) for judge in (judge_by_histograms, judge_by_pixels)]
        truth = ALL_NOUNS.index(noun)
        shares[noun] = [100 * float(np.mean((found > found[:, [truth]]).sum(axis=1) < 5)) for found in likenesses]
    rows = [
        Row(f"{noun}, by colours and edges, by pixels {by_pixels:.0f}", by_edges, 80, "percent") for noun, (by_edges, by_pixels) in shares.items()
    ]
    rows.append(Row("mean of both judges", fmean(share for both in shares.values() for share in both), 80, "percent"))
    show("held_out", rows, "mark", as_json)


if __name__ == "__main__":
    typer.run(main)
