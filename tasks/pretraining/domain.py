"""A domain of pictures that an encoder learns from: one folder per thing, with pictures of the thing alone on different scenes.

The embedded base's domain has things that the base has seen, by eight artists, redrawn, painted and crossed.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tasks import artifacts
from tasks.documents import as_yaml
from tasks.pretraining.art import COLOURED_STYLES
from tasks.pretraining.media import MEDIA
from tasks.pretraining.nouns import ALL_NOUNS, OTHER_THINGS, TRAINED_NOUNS
from tasks.pretraining.scenes import SCENES
from tasks.pretraining.sprites import crossed, painted, redrawn
from tasks.pretraining.world import BIASED, THING_COLOURS, Sample, World

SEEN = [*(ALL_NOUNS.index(noun) for noun in TRAINED_NOUNS if noun not in BIASED), *OTHER_THINGS]
"""The things that the base was trained on."""


def draw_domain(art: Path, folder: Path, things: int, pictures_each: int, seed: int, styles: Sequence[str] = COLOURED_STYLES) -> None:
    """Write folder/<number>/<n>.png, photos of one thing each, and what else each photo shows in captions.yaml."""
    world, rng = World(art, styles, seed=seed), np.random.default_rng(seed)
    with artifacts.new_folder(folder) as new:
        for number in range(things):
            place = new / f"{number:05d}"
            place.mkdir()
            draw_pictures(world, rng, place, draw_thing(world, rng), pictures_each)


def draw_pictures(world: World, rng: np.random.Generator, place: Path, thing: Image.Image, count: int) -> None:
    """Write pictures of a thing on scenes, a third of them plain as a user's are, and their captions.yaml."""
    contexts = dict[str, str]()
    for file in (f"{n}.png" for n in range(1, count + 1)):
        scene = "plain" if rng.random() < 0.35 else str(rng.choice(list(SCENES)[1:]))
        world.place(rng, Sample((0,), (None,), "one", scene, "photo", ""), [thing]).save(place / file)
        contexts |= {file: SCENES[scene][0]} if SCENES[scene][0] else {}
    (place / "captions.yaml").write_text(as_yaml({"context": contexts}), encoding="utf-8")


def draw_thing(world: World, rng: np.random.Generator) -> Image.Image:
    """Draw the sprite of a thing that has been seen: half by the artist of photos, half as it is, else redrawn, crossed with another or painted."""
    art = world.sprites[MEDIA["photo"].art if rng.random() < 0.5 else str(rng.choice(list(world.sprites)))]
    seen = [index for index in SEEN if art[index].getbbox()]  # a smaller set lacks some things
    thing, roll = art[rng.choice(seen)], rng.random()
    if roll < 0.25:
        return redrawn(rng, thing)
    if roll < 0.4:
        return crossed(rng, thing, art[rng.choice(seen)])
    return painted(thing, str(rng.choice(THING_COLOURS))) if roll < 0.5 else thing
