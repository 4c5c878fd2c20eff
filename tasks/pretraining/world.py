"""The emoji world: pictures of things on scenes in media, each with its caption."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageFilter, ImageOps

from tasks.diffusion.templates import OBJECT_TEMPLATES
from tasks.pretraining.art import TRAINED_STYLES, load_sprites
from tasks.pretraining.nouns import ALL_NOUNS
from tasks.pretraining.scenes import SCENES, paint_scene

SIZE = 64


def outlined(sprite: Image.Image) -> Image.Image:
    """Return a sprite with a dark ink line around it."""
    alpha = sprite.getchannel("A")
    ink = Image.new("RGBA", sprite.size, (25, 20, 30, 255))
    ink.putalpha(alpha.filter(ImageFilter.MaxFilter(5)))
    return Image.alpha_composite(ink, sprite)


def pencil(picture: Image.Image) -> Image.Image:
    lines = ImageOps.invert(ImageOps.grayscale(picture).filter(ImageFilter.FIND_EDGES))
    return ImageOps.autocontrast(lines.crop((1, 1, SIZE - 1, SIZE - 1)).resize(picture.size), cutoff=1).convert("RGB")


def oil(picture: Image.Image) -> Image.Image:
    strokes = picture.filter(ImageFilter.ModeFilter(7))
    return ImageOps.posterize(strokes, 3).filter(ImageFilter.ModeFilter(3))


def pixels(picture: Image.Image) -> Image.Image:
    return picture.reduce(4).resize(picture.size, Image.Resampling.NEAREST)


def gray(picture: Image.Image) -> Image.Image:
    return ImageOps.grayscale(picture).convert("RGB")


def sepia(picture: Image.Image) -> Image.Image:
    return ImageOps.colorize(ImageOps.grayscale(picture), (50, 25, 10), (255, 240, 205), (165, 120, 70))


def neon(picture: Image.Image) -> Image.Image:
    edges = picture.filter(ImageFilter.FIND_EDGES).crop((1, 1, SIZE - 1, SIZE - 1)).resize(picture.size)
    bright = ImageOps.autocontrast(edges, cutoff=1)
    return ImageChops.add(bright, bright.filter(ImageFilter.GaussianBlur(2)))


@dataclass(frozen=True)
class Medium:
    """How a picture is made: the words before the noun, the style's own word, the art it starts from, and a filter."""

    words: str
    style_word: str
    art: str
    filter: Callable[[Image.Image], Image.Image] | None = None


MEDIA: dict[str, Medium] = {
    "photo": Medium("a photo of", "photo", "fluent"),
    "cartoon": Medium("a cartoon of", "cartoon", "noto"),
    "icon": Medium("a flat icon of", "icon", "twemoji"),
    "sketch": Medium("a pencil sketch of", "pencil", "fluent", pencil),
    "oil": Medium("an oil painting of", "oil", "fluent", oil),
    "pixel": Medium("pixel art of", "pixel", "fluent", pixels),
    "gray": Medium("a black and white photo of", "gray", "fluent", gray),
    "sepia": Medium("a sepia photo of", "sepia", "fluent", sepia),
    "neon": Medium("a neon sign of", "neon", "fluent", neon),
}
MEDIUM_SHARES = {"photo": 0.52, "cartoon": 0.09, "icon": 0.09, "sketch": 0.05, "oil": 0.05, "pixel": 0.05, "gray": 0.05, "sepia": 0.05, "neon": 0.05}
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
    """One composite: what it shows and what is said of it."""

    nouns: tuple[int, ...]
    scene: str
    medium: str
    caption: str


def draw_sample(rng: np.random.Generator, nouns: Sequence[int], pair_share: float = 0.12) -> Sample:
    """Draw what a picture shows and its caption; `nouns` are the indices that may appear."""
    medium = str(rng.choice(list(MEDIUM_SHARES), p=list(MEDIUM_SHARES.values())))
    scene = "plain" if rng.random() < 0.4 else str(rng.choice(list(SCENES)[1:]))
    shown = tuple(rng.choice(nouns, 2 if rng.random() < pair_share else 1, replace=False).tolist())
    return Sample(shown, scene, medium, caption(rng, [ALL_NOUNS[index] for index in shown], scene, medium))


def caption(rng: np.random.Generator, nouns: Sequence[str], scene: str, medium: str) -> str:
    """Say what a picture shows: mostly plainly, sometimes with the paper's templates, by style, or without the noun."""
    things = " and ".join(with_article(noun) for noun in nouns)
    where, how, roll = SCENES[scene][0], MEDIA[medium], rng.random()
    if roll < 0.05:
        text = how.words
    elif medium != "photo" and roll < 0.3:
        text = str(rng.choice(STYLE_FORMS)).format(things, how.style_word)
    elif medium == "photo" and len(nouns) == 1 and roll < 0.5:
        text = str(rng.choice(OBJECT_TEMPLATES)).format(nouns[0])
    else:
        text = f"{how.words} {things}"
    return f"{text} {where}".strip().lower()


def things_of(sample: Sample) -> str:
    """Say only what a picture shows."""
    return "a picture of " + " and ".join(with_article(ALL_NOUNS[index]) for index in sample.nouns)


def setting_of(sample: Sample) -> str:
    """Say only how and where a picture shows it."""
    return f"{MEDIA[sample.medium].words} {SCENES[sample.scene][0]}".strip()


def compose(rng: np.random.Generator, background: Image.Image, sprites: Sequence[Image.Image], medium: str) -> Image.Image:
    """Put one sprite in the middle, or two side by side, on a scene, and render the medium."""
    size, picture = background.width, background.copy()
    centres = ((0.5,),) if len(sprites) == 1 else ((0.28,), (0.72,))
    for sprite, (centre,) in zip(sprites, centres, strict=True):
        side = round(size * (rng.uniform(0.7, 0.86) if len(sprites) == 1 else rng.uniform(0.44, 0.5)))
        drawn = outlined(sprite) if medium == "cartoon" else sprite
        drawn = drawn.rotate(rng.uniform(-6, 6), Image.Resampling.BICUBIC).resize(
            (side, side), Image.Resampling.BOX if side * 2 <= sprite.width else Image.Resampling.BILINEAR
        )
        shift = rng.uniform(-0.05, 0.05, 2) * size
        picture.paste(drawn, (round(centre * size + shift[0] - side / 2), round(0.54 * size + shift[1] - side / 2)), drawn)
    how = MEDIA[medium].filter
    return how(picture) if how else picture


class World:
    """Sprites and scenes in memory, ready to compose."""

    def __init__(self, art: Path, styles: Sequence[str] = TRAINED_STYLES, scenes_each: int = 64, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.sprites = {style: [Image.fromarray(sprite) for sprite in load_sprites(art, style)] for style in styles}
        self.scenes = {name: [paint_scene(name, rng, SIZE) for _ in range(scenes_each)] for name in SCENES}

    def render(self, rng: np.random.Generator, sample: Sample, style: str | None = None) -> Image.Image:
        """Return the picture of a sample; `style` replaces the medium's own art."""
        sprites = self.sprites[style or MEDIA[sample.medium].art]
        scenes = self.scenes[sample.scene]
        return compose(rng, scenes[rng.integers(len(scenes))], [sprites[index] for index in sample.nouns], sample.medium)

    def batch(self, rng: np.random.Generator, count: int, nouns: Sequence[int], any_art: bool = False) -> tuple[np.ndarray, list[Sample]]:
        """Draw `count` composites: (count, 64, 64, 3) uint8 and what they show.

        With `any_art` a filter works on the art of any style, which teaches shapes and not one artist's hand.
        """
        samples = [draw_sample(rng, nouns) for _ in range(count)]
        pictures = []
        for sample in samples:
            style = str(rng.choice(list(self.sprites))) if any_art and MEDIA[sample.medium].filter else None
            pictures.append(np.asarray(self.render(rng, sample, style)))
        return np.stack(pictures), samples
