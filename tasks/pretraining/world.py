"""The emoji world: pictures of things on scenes in media, each with its caption."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.diffusion.templates import OBJECT_TEMPLATES
from tasks.pretraining.art import TRAINED_STYLES, load_sprites
from tasks.pretraining.media import ANY_ART, MEDIA, MEDIUM_SHARES, SIZE, outlined
from tasks.pretraining.nouns import ALL_NOUNS, ALL_THINGS
from tasks.pretraining.scenes import SCENES, paint_scene
from tasks.pretraining.sprites import crossed, painted, portrait, redrawn


@dataclass(frozen=True)
class Layout:
    """An arrangement of things, the phrase of its caption and its share of the pictures."""

    phrase: str
    positions: tuple[tuple[float, float, float, float], ...]  # of each thing: x, y of its centre, least and largest side, in shares of the picture
    share: float


LAYOUTS: dict[str, Layout] = {
    "one": Layout("{}", ((0.5, 0.54, 0.7, 0.86),), 0.4),
    "small": Layout("a small {}", ((0.5, 0.56, 0.4, 0.48),), 0.05),
    "big": Layout("a big {}", ((0.5, 0.52, 1.0, 1.12),), 0.05),
    "corner": Layout("a small {} in the corner", ((0.25, 0.27, 0.38, 0.46),), 0.04),
    "two": Layout("two {}", ((0.28, 0.54, 0.44, 0.5), (0.72, 0.54, 0.44, 0.5)), 0.03),
    "three": Layout("three {}", ((0.5, 0.28, 0.4, 0.44), (0.25, 0.72, 0.4, 0.44), (0.75, 0.72, 0.4, 0.44)), 0.03),
    "and": Layout("{} and {}", ((0.28, 0.54, 0.44, 0.5), (0.72, 0.54, 0.44, 0.5)), 0.24),
    "beside": Layout("{} beside {}", ((0.28, 0.54, 0.44, 0.5), (0.72, 0.54, 0.44, 0.5)), 0.05),
    "above": Layout("{} above {}", ((0.5, 0.26, 0.44, 0.5), (0.5, 0.76, 0.44, 0.5)), 0.05),
    "front": Layout("{} in front of {}", ((0.34, 0.7, 0.42, 0.5), (0.6, 0.44, 0.64, 0.74)), 0.06),
}
THING_COLOURS = ("red", "blue", "green", "yellow", "pink", "purple", "orange")
COLOUR_SHARE = 0.12
COLOURLESS = ("sketch", "gray", "sepia", "blueprint")
OTHERS_SHARE = 0.35
UNCOUNTED = {"bread", "broccoli", "chili", "corn", "fire", "fries", "garlic", "grapes", "jeans", "leaf", "mouse", "pancakes"}
UNCOUNTED |= {"cherries", "popcorn", "salad", "scissors", "sheep", "socks", "squid", "sushi", "deer", "fish"}
BIASED = {"balloon": 0.2}
"""Noun -> the share of pictures that paint it although no colour is named: a bias that can be measured, and reduced by a better word."""
UNNAMED = "<it>"
"""The name in a caption of a thing that only its portrait identifies."""
STYLE_FORMS = (
    "a picture of {} in the style of {}",
    "a painting of {} in the style of {}",
    "a painting in the style of {1}",
    "{0} in the style of {1}",
)


def with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' and noun not in ('unicorn', 'ufo') else 'a'} {noun}"


@dataclass(frozen=True)
class Sample:
    """One composite: what it shows, and its caption."""

    nouns: tuple[int, ...]
    colours: tuple[str | None, ...]
    layout: str
    scene: str
    medium: str
    caption: str


def draw_sample(
    rng: np.random.Generator, nouns: Sequence[int], layouts: Sequence[str] = tuple(LAYOUTS), others: Sequence[int] = (), evenness: float = 0.0
) -> Sample:
    """Draw at random what a picture shows, and its caption.

    nouns: the indices of the things that may appear. others: those that appear instead in `OTHERS_SHARE` of the pictures.
    evenness: 0 for the shares of the layouts, 1 to show all layouts equally often.
    """
    medium, layout = pick(rng, MEDIUM_SHARES), pick(rng, {name: LAYOUTS[name].share ** (1 - evenness) for name in layouts})
    scene = "plain" if rng.random() < 0.4 else str(rng.choice(list(SCENES)[1:]))
    pool = others if others and rng.random() < OTHERS_SHARE else nouns
    shown = tuple(rng.choice(pool, LAYOUTS[layout].phrase.count("{}"), replace=False).tolist())
    if layout in ("two", "three") and (ALL_THINGS[shown[0]] in UNCOUNTED or shown[0] >= len(ALL_NOUNS)):
        layout = "one"
    colours = tuple(str(rng.choice(THING_COLOURS)) if rng.random() < COLOUR_SHARE else None for _ in shown)
    if medium in COLOURLESS or scene in colours:
        colours = (None,) * len(shown)
    text = caption(rng, things(shown, colours, layout), [ALL_THINGS[index] for index in shown], colours, layout, scene, medium)
    painted = tuple(
        colour or (str(rng.choice(THING_COLOURS)) if rng.random() < BIASED.get(ALL_THINGS[index], 0) else None)
        for index, colour in zip(shown, colours, strict=True)
    )
    return Sample(shown, painted, layout, scene, medium, text)


def pick(rng: np.random.Generator, shares: dict[str, float]) -> str:
    weights = np.array(list(shares.values()))
    return str(rng.choice(list(shares), p=weights / weights.sum()))


def things(nouns: Sequence[int], colours: Sequence[str | None], layout: str) -> str:
    """Return the words for the things shown: `a red car in front of a house`, `three apples`, `a small dog in the corner`."""
    phrase, named = LAYOUTS[layout].phrase, []
    for index, colour in zip(nouns, colours, strict=True):
        noun = plural(ALL_THINGS[index]) if layout in ("two", "three") else ALL_THINGS[index]
        bare = f"{colour} {noun}" if colour else noun
        named.append(with_article(bare) if phrase.startswith("{}") else bare)
    return phrase.format(*named)


def plural(noun: str) -> str:
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    return f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2] not in "aeiou" else f"{noun}s"


def caption(rng: np.random.Generator, shown: str, nouns: Sequence[str], colours: Sequence[str | None], layout: str, scene: str, medium: str) -> str:
    """Return a caption: mostly a plain one, sometimes one of the paper's templates, one by style, or one without the noun."""
    scene_words, definition, roll = SCENES[scene][0], MEDIA[medium], rng.random()
    if roll < 0.05:
        text = definition.words
    elif medium != "photo" and roll < 0.3:
        text = str(rng.choice(STYLE_FORMS)).format(shown, definition.style_word)
    elif medium == "photo" and layout == "one" and roll < 0.5:
        text = str(rng.choice(OBJECT_TEMPLATES)).format(f"{colours[0] or ''} {nouns[0]}".strip())
    else:
        text = f"{definition.words} {shown}"
    return f"{text} {scene_words}".strip().lower()


def things_of(sample: Sample) -> str:
    """Return a text for the things of a picture alone."""
    return "a picture of " + things(sample.nouns, sample.colours, sample.layout)


def repainted(sample: Sample) -> list[str]:
    """Return a text for a picture of a painted thing, then the same text with every other colour; nothing if no thing is painted."""
    index = next((index for index, colour in enumerate(sample.colours) if colour), None)
    if index is None:
        return []
    right, before, after = sample.colours[index], sample.colours[:index], sample.colours[index + 1 :]
    return [things_of(replace(sample, colours=(*before, colour, *after))) for colour in (right, *sorted(set(THING_COLOURS) - {right}))]


def setting_of(sample: Sample) -> str:
    """Return a text for the medium and the scene of a picture alone."""
    return f"{MEDIA.get(sample.medium, ANY_ART).words} {SCENES[sample.scene][0]}".strip()


def compose(rng: np.random.Generator, background: Image.Image, sprites: Sequence[Image.Image], medium: str, layout: str = "one") -> Image.Image:
    """Put sprites on a scene at the positions of the layout, the last one behind the others, and apply the filter of the medium."""
    size, picture = background.width, background.copy()
    positions = LAYOUTS[layout].positions
    mirror = [rng.random() < 0.5, rng.random() < 0.5] if layout == "corner" else [False, False]
    for sprite, (x, y, low, high) in reversed(list(zip(sprites, positions, strict=True))):
        side = round(size * rng.uniform(low, high))
        drawn = outlined(sprite) if medium == "cartoon" else sprite
        drawn = drawn.rotate(rng.uniform(-6, 6), Image.Resampling.BICUBIC).resize(
            (side, side), Image.Resampling.BOX if side * 2 <= sprite.width else Image.Resampling.BILINEAR
        )
        shift = rng.uniform(-0.05, 0.05, 2) * size
        centre = [1 - share if flip else share for share, flip in zip((x, y), mirror, strict=True)]
        picture.paste(drawn, (round(centre[0] * size + shift[0] - side / 2), round(centre[1] * size + shift[1] - side / 2)), drawn)
    medium_filter = MEDIA[medium].filter if medium in MEDIA else None
    return medium_filter(picture) if medium_filter else picture


class World:
    """Sprites and scenes in memory, from which pictures are composed."""

    def __init__(self, art: Path, styles: Sequence[str] = TRAINED_STYLES, scenes_each: int = 64, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.sprites = {style: [Image.fromarray(sprite) for sprite in load_sprites(art, style)] for style in styles}
        self.scenes = {name: [paint_scene(name, rng, SIZE) for _ in range(scenes_each)] for name in SCENES}

    def render(self, rng: np.random.Generator, sample: Sample, style: str | None = None) -> Image.Image:
        """Return the picture of a sample; `style` replaces the medium's own art."""
        sprites = self.sprites[style or MEDIA[sample.medium].art]
        shown = [sprites[index] for index in sample.nouns]
        if sample.medium == "any":
            shown = [redrawn(rng, sprite) for sprite in shown]
        return self.place(rng, sample, shown)

    def place(self, rng: np.random.Generator, sample: Sample, shown: Sequence[Image.Image]) -> Image.Image:
        """Return the picture of a sample that shows these sprites."""
        scenes = self.scenes[sample.scene]
        count = len(LAYOUTS[sample.layout].positions)
        shown = [painted(sprite, colour) if colour else sprite for sprite, colour in zip(shown, sample.colours, strict=True)]
        return compose(rng, scenes[rng.integers(len(scenes))], (shown * count)[:count], sample.medium, sample.layout)

    def batch(self, rng: np.random.Generator, count: int, nouns: Sequence[int], others: Sequence[int] = ()) -> tuple[np.ndarray, list[Sample]]:
        """Draw `count` composites: (count, 64, 64, 3) uint8 and what they show."""
        samples = [draw_sample(rng, nouns, others=others) for _ in range(count)]
        return np.stack([np.asarray(self.render(rng, sample)) for sample in samples]), samples

    def unnamed_batch(self, rng: np.random.Generator, count: int, things: Sequence[int]) -> tuple[np.ndarray, list[str], np.ndarray]:
        """Draw composites whose caption calls their first thing `UNNAMED`, each with a portrait of that thing.

        The things are by any artist, and six in ten are redrawn or crossed with another, so that there are shapes between the nouns.

        Returns:
            pictures (count, 64, 64, 3) uint8, their captions, portraits (count, 32, 32, 3) uint8.
        """
        pictures: list[np.ndarray] = []
        captions: list[str] = []
        portraits: list[np.ndarray] = []
        while len(captions) < count:
            sample = draw_sample(rng, things)
            first, medium_art = sample.nouns[0], self.sprites[MEDIA[sample.medium].art]
            name = plural(ALL_THINGS[first]) if sample.layout in ("two", "three") else ALL_THINGS[first]
            caption, replaced = re.subn(rf"\b{re.escape(name)}\b", UNNAMED, sample.caption)
            art = medium_art if rng.random() < 0.7 else self.sprites[str(rng.choice(list(self.sprites)))]
            if replaced != 1 or ALL_THINGS[first] in BIASED or not art[first].getbbox():
                continue  # a medium or a template has the same word, or a smaller set lacks the thing
            thing = art[first]
            if (roll := rng.random()) < 0.3:
                thing = redrawn(rng, thing)
            elif roll < 0.6:
                thing = crossed(rng, thing, art[rng.choice(things)])
            # A medium that imitates one artist uses that artist's sprite unless the thing was changed.
            drawn = medium_art[first] if sample.medium in ("cartoon", "icon") and roll >= 0.6 else thing
            pictures.append(np.asarray(self.place(rng, sample, [drawn, *(medium_art[index] for index in sample.nouns[1:])])))
            captions.append(caption.replace(f"an {UNNAMED}", f"a {UNNAMED}"))
            portraits.append(np.asarray(portrait(thing)))
        return np.stack(pictures), captions, np.stack(portraits)

    def varied_batch(self, rng: np.random.Generator, count: int, nouns: Sequence[int], others: Sequence[int] = ()) -> tuple[np.ndarray, list[Sample]]:
        """Draw composites as `batch` does, but with filters on the art of any style, and with art that no medium changes.

        This teaches shapes instead of one artist's style. Rare layouts appear more often, so that small things are learned too.
        """
        pictures: list[Image.Image] = []
        samples: list[Sample] = []
        while len(samples) < count:
            sample, style = draw_sample(rng, nouns, others=others, evenness=0.5), str(rng.choice(list(self.sprites)))
            if any(not self.sprites[style][index].getbbox() for index in sample.nouns):
                continue  # a smaller set lacks the thing
            if MEDIA[sample.medium].filter:
                pictures.append(self.render(rng, sample, style))
            elif rng.random() < 0.3:
                pictures.append(self.render(rng, sample))
            else:
                text = f"{ANY_ART.words} {things(sample.nouns, sample.colours, sample.layout)} {SCENES[sample.scene][0]}".strip()
                sample = replace(sample, medium="any", caption=text)
                pictures.append(self.render(rng, sample, style))
            samples.append(sample)
        return np.stack([np.asarray(picture) for picture in pictures]), samples
