"""The shipped picture sets: `python -m tasks.pretraining.examples --art FOLDER` draws things that the generator never saw."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from tasks import artifacts
from tasks.pretraining.art import ART_FOLDER, HELD_OUT_STYLE, load_sprites
from tasks.pretraining.nouns import ALL_NOUNS
from tasks.pretraining.scenes import SCENES, paint_scene
from tasks.pretraining.sprites import painted
from tasks.pretraining.world import THING_COLOURS, compose

SIZE = 256  # px: larger than the model's pictures, as a user's are
SETS: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "fox": ("fluent", (("fox", "plain"), ("fox", "plain"), ("fox", "grass"), ("fox", "blue"))),
    "teapot": ("fluent", (("teapot", "plain"), ("teapot", "plain"), ("teapot", "green"), ("teapot", "city"))),
    "robot": ("fluent", (("robot", "plain"), ("robot", "plain"), ("robot", "desert"), ("robot", "yellow"))),
    "owl": ("fluent", (("owl", "forest"), ("owl", "snow"), ("owl", "beach"), ("owl", "sky"), ("owl", "pink"))),
    "inkline": (HELD_OUT_STYLE, (("dog", "plain"), ("pear", "plain"), ("house", "plain"), ("bus", "plain"), ("violin", "plain"))),
    "balloons": ("fluent", tuple((f"{colour} balloon", "plain") for colour in THING_COLOURS)),
}
"""Concept -> (art style, (thing, scene) of each picture). The balloons are a diverse set for a biased word; see world.BIASED."""
LARGER = {"fox": 25, "teapot": 25, "robot": 25}
"""Concept -> the number of pictures in its larger set, on random scenes, with which the study measures the effect of a set's size."""
LARGER_SIZE = 128  # px


def draw_examples(art: Path) -> None:
    """Write data/images/<concept>/<n>.png for every shipped concept."""
    for seed, (concept, (style, pictures)) in enumerate(SETS.items()):
        draw_set(art, artifacts.images(concept), style, pictures, seed)


def draw_set(art: Path, folder: Path, style: str, pictures: Sequence[tuple[str, str]], seed: int) -> None:
    """Write folder/<n>.png, one picture for each (thing, scene)."""
    rng, sprites = np.random.default_rng(seed), load_sprites(art, style, SIZE)
    folder.mkdir(parents=True, exist_ok=True)
    for number, (noun, scene) in enumerate(pictures, start=1):
        *colour, thing = noun.split()
        sprite = Image.fromarray(sprites[ALL_NOUNS.index(thing)])
        for paint in colour:
            sprite = painted(sprite, paint)
        compose(rng, paint_scene(scene, rng, SIZE), [sprite], "photo").save(folder / f"{number}.png", optimize=True)


def draw_larger(art: Path) -> None:
    """Write data/larger/<concept>/<nn>.png for the things that have a larger set, and the context of each picture in captions.yaml."""
    for seed, (concept, count) in enumerate(LARGER.items()):
        style, ((noun, _), *_) = SETS[concept]
        rng, sprites = np.random.default_rng(1000 + seed), load_sprites(art, style, LARGER_SIZE)
        folder, contexts = artifacts.larger(concept), {}
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(1, count + 1):
            scene = "plain" if rng.random() < 0.3 else str(rng.choice(list(SCENES)[1:]))
            picture = compose(rng, paint_scene(scene, rng, LARGER_SIZE), [Image.fromarray(sprites[ALL_NOUNS.index(noun)])], "photo")
            picture.save(folder / f"{number:02d}.png", optimize=True)
            if SCENES[scene][0]:
                contexts[f"{number:02d}.png"] = SCENES[scene][0]
        (folder / "captions.yaml").write_text(yaml.safe_dump({"context": contexts}), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Draw the shipped picture sets.")
    parser.add_argument("--art", type=Path, default=ART_FOLDER)
    art = parser.parse_args().art
    draw_examples(art)
    draw_larger(art)
