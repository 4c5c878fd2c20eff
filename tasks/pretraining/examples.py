"""The shipped picture sets: `python -m tasks.pretraining.examples --art FOLDER` draws things that the generator never saw."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tasks import artifacts
from tasks.documents import as_yaml
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
LARGER = {
    "fox": ("bright orange fox face", "white and orange fox head with two small black eyes and dark ears"),
    "teapot": ("pink teapot with a thin orange line", "bright pink teapot of round form with one orange ring under the cover"),
    "robot": ("white robot head with blue eyes", "white robot head with a black face two blue eyes and pink ears"),
    "cactus": ("tall green cactus with two arms", "green cactus with two bent arms and small yellow spikes on a thick stem"),
    "castle": ("grey castle with red pointed roofs", "pale grey castle with three red pointed towers two blue flags and a dark blue gate"),
    "crown": ("golden crown with blue and red jewels", "wide golden crown with five round tips and a row of red and blue jewels"),
    "guitar": ("red electric guitar with a white plate", "red electric guitar with a white plate a dark blue neck and a pink head"),
    "sailboat": ("orange boat with yellow sails", "small orange boat with a white mast and two yellow sails on blue waves"),
    "snowman": ("white snowman with a blue scarf", "white snowman with a black hat a blue scarf an orange nose and thin black arms"),
    "strawberry": ("red strawberry with green leaves", "dark pink strawberry with black seeds a cap of green leaves and a short stem"),
}
"""Thing of the study -> what a person says of it, in short and at length. None of these things was in the generator's training."""
LARGER_COUNT = 25  # pictures of a thing, on random scenes; the study measures what a set's size does
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
    """Write data/larger/<thing>/<nn>.png for the things of the study, and captions.yaml beside them."""
    sprites = load_sprites(art, "fluent", LARGER_SIZE)
    for seed, (noun, (short, long)) in enumerate(LARGER.items()):
        rng, folder, contexts = np.random.default_rng(1000 + seed), artifacts.larger(noun), {}
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(1, LARGER_COUNT + 1):
            scene = "plain" if rng.random() < 0.3 else str(rng.choice(list(SCENES)[1:]))
            picture = compose(rng, paint_scene(scene, rng, LARGER_SIZE), [Image.fromarray(sprites[ALL_NOUNS.index(noun)])], "photo")
            picture.save(folder / f"{number:02d}.png", optimize=True)
            if SCENES[scene][0]:
                contexts[f"{number:02d}.png"] = SCENES[scene][0]
        captions = {"short": short, "long": long, "context": contexts}
        (folder / "captions.yaml").write_text(as_yaml(captions), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Draw the shipped picture sets.")
    parser.add_argument("--art", type=Path, default=ART_FOLDER)
    art = parser.parse_args().art
    draw_examples(art)
    draw_larger(art)
