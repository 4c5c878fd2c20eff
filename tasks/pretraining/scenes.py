"""The scenes of the emoji world, drawn with Pillow at any size."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

Painter = Callable[[ImageDraw.ImageDraw, np.random.Generator, int], None]
Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {
    "red": (205, 40, 45),
    "blue": (55, 75, 200),
    "green": (60, 165, 80),
    "yellow": (240, 210, 60),
    "pink": (245, 150, 190),
    "purple": (125, 65, 170),
    "orange": (240, 140, 45),
    "black": (20, 20, 24),
    "gray": (140, 142, 146),
    "brown": (120, 75, 40),
}


def shade(rng: np.random.Generator, colour: Colour, spread: int = 12) -> Colour:
    """Return a colour near `colour`."""
    red, green, blue = (np.asarray(colour) + rng.integers(-spread, spread + 1, 3)).clip(0, 255).tolist()
    return red, green, blue


def gradient(draw: ImageDraw.ImageDraw, size: int, top: Colour, bottom: Colour, end: float = 1.0) -> None:
    """Fill the rows from 0 to `end` (a share of the height) from one colour to another."""
    rows = round(size * end)
    for row in range(rows):
        mix = row / max(1, rows - 1)
        draw.line([(0, row), (size, row)], fill=tuple(round(a + (b - a) * mix) for a, b in zip(top, bottom, strict=True)))


def scatter(
    draw: ImageDraw.ImageDraw, rng: np.random.Generator, size: int, count: int, rows: tuple[float, float], radius: float, fill: Colour
) -> None:
    """Draw `count` dots between two rows (shares of the height)."""
    for _ in range(count):
        x, y = rng.uniform(0, size), rng.uniform(*rows) * size
        r = radius * size * rng.uniform(0.6, 1.3)
        draw.ellipse([x - r, y - r, x + r, y + r], fill=fill)


def beach(draw: ImageDraw.ImageDraw, rng: np.random.Generator, size: int) -> None:
    horizon = rng.uniform(0.42, 0.5)
    gradient(draw, size, shade(rng, (90, 180, 240)), (200, 232, 250), horizon)
    draw.rectangle([0, horizon * size, size, 0.66 * size], fill=shade(rng, (35, 120, 190)))
    draw.rectangle([0, 0.66 * size, size, size], fill=shade(rng, (232, 208, 150)))


def moon(draw: ImageDraw.ImageDraw, rng: np.random.Generator, size: int) -> None:
    draw.rectangle([0, 0, size, size], fill=(8, 8, 16))
    scatter(draw, rng, size, 22, (0, 0.6), 0.007, (235, 235, 245))
    draw.ellipse([-0.4 * size, 0.62 * size, 1.4 * size, 2.2 * size], fill=shade(rng, (150, 150, 156)))
    scatter(draw, rng, size, 6, (0.75, 1), 0.04, (115, 115, 122))


def water(draw: ImageDraw.ImageDraw, rng: np.random.Generator, size: int) -> None:
    gradient(draw, size, shade(rng, (60, 180, 215)), shade(rng, (10, 50, 110)))
    for _ in range(12):
        x, y, r = rng.uniform(0, size), rng.uniform(0, size), rng.uniform(0.01, 0.035) * size
        draw.ellipse([x - r, y - r, x + r, y + r], outline=(185, 230, 245), width=max(1, size // 80))


def forest(draw: ImageDraw.ImageDraw, rng: np.random.Generator, size: int) -> None:
    gradient(draw, size, shade(rng, (170, 205, 190)), (120, 165, 140), 0.8)
    for x in np.sort(rng.uniform(0, size, 11)):
        top, half = rng.uniform(0.05, 0.35) * size, rng.uniform(0.06, 0.1) * size
        draw.polygon([(x - half, 0.8 * size), (x + half, 0.8 * size), (x, top)], fill=shade(rng, (28, 85, 52)))
    draw.rectangle([0, 0.77 * size, size, size], fill=shade(rng, (78, 92, 50)))


def snow(draw: ImageDraw.ImageDraw, rng: np.random.Generator, size: int) -> None:
    gradient(draw, size, shade(rng, (150, 175, 205)), (205, 220, 238), 0.65)
    draw.ellipse([-0.5 * size, 0.6 * size, 1.5 * size, 2 * size], fill=(245, 248, 252))
    scatter(draw, rng, size, 26, (0, 1), 0.012, (252, 253, 255))


def grass(draw: ImageDraw.ImageDraw, rng: np.random.Generator, size: int) -> None:
    gradient(draw, size, shade(rng, (110, 190, 245)), (205, 232, 252), 0.62)
    draw.rectangle([0, 0.6 * size, size, size], fill=shade(rng, (95, 180, 65)))
    for x in rng.uniform(0, size, 20):
        y = rng.uniform(0.62, 1) * size
        draw.line([(x, y), (x + 0.02 * size, y - 0.06 * size)], fill=(60, 140, 45), width=max(1, size // 80))


def desert(draw: ImageDraw.ImageDraw, rng: np.random.Generator, size: int) -> None:
    gradient(draw, size, shade(rng, (250, 205, 130)), (253, 232, 190), 0.6)
    draw.ellipse([-0.7 * size, 0.52 * size, 0.8 * size, 1.6 * size], fill=shade(rng, (225, 160, 85)))
    draw.ellipse([0.1 * size, 0.6 * size, 1.8 * size, 1.7 * size], fill=shade(rng, (205, 135, 65)))


def city(draw: ImageDraw.ImageDraw, rng: np.random.Generator, size: int) -> None:
    gradient(draw, size, shade(rng, (245, 170, 140)), (250, 215, 180), 0.8)
    x = 0.0
    while x < size:
        width, top = rng.uniform(0.12, 0.2) * size, rng.uniform(0.1, 0.5) * size
        draw.rectangle([x, top, x + width - 1, 0.8 * size], fill=shade(rng, (85, 85, 115)))
        for window in np.arange(top + 0.05 * size, 0.74 * size, 0.1 * size):
            draw.rectangle([x + 0.3 * width, window, x + 0.6 * width, window + 0.035 * size], fill=(250, 225, 130))
        x += width
    draw.rectangle([0, 0.8 * size, size, size], fill=(70, 70, 76))


def sky(draw: ImageDraw.ImageDraw, rng: np.random.Generator, size: int) -> None:
    gradient(draw, size, shade(rng, (45, 130, 225)), (165, 212, 250))
    for _ in range(4):
        x, y = rng.uniform(0, size), rng.uniform(0.05, 0.95) * size
        for shift, r in ((-0.1, 0.06), (0, 0.09), (0.11, 0.06)):
            draw.ellipse([x + (shift - r) * size, y - r * 0.8 * size, x + (shift + r) * size, y + r * 0.8 * size], fill=(250, 252, 255))


def night(draw: ImageDraw.ImageDraw, rng: np.random.Generator, size: int) -> None:
    gradient(draw, size, shade(rng, (25, 25, 75)), (75, 65, 130), 0.8)
    scatter(draw, rng, size, 14, (0, 0.5), 0.008, (250, 245, 210))
    x, y, r = rng.uniform(0.78, 0.9) * size, rng.uniform(0.1, 0.16) * size, 0.08 * size
    draw.ellipse([x - r, y - r, x + r, y + r], fill=(250, 240, 170))
    for centre in (0.15, 0.85):
        draw.ellipse([(centre - 0.5) * size, 0.7 * size, (centre + 0.5) * size, 1.4 * size], fill=shade(rng, (18, 40, 38)))


def rain(draw: ImageDraw.ImageDraw, rng: np.random.Generator, size: int) -> None:
    gradient(draw, size, shade(rng, (85, 95, 110)), (150, 160, 172), 0.8)
    draw.rectangle([0, 0.8 * size, size, size], fill=shade(rng, (70, 85, 100)))
    for _ in range(45):
        x, y, length = rng.uniform(0, 1.1) * size, rng.uniform(-0.1, 1) * size, rng.uniform(0.06, 0.11) * size
        draw.line([(x, y), (x - 0.35 * length, y + length)], fill=(205, 222, 240), width=max(1, size // 64))


def table(draw: ImageDraw.ImageDraw, rng: np.random.Generator, size: int) -> None:
    draw.rectangle([0, 0, size, size], fill=shade(rng, (236, 222, 200)))
    draw.rectangle([0, 0.62 * size, size, size], fill=shade(rng, (150, 95, 52)))
    draw.rectangle([0, 0.62 * size, size, 0.66 * size], fill=(190, 130, 80))
    for row in (0.76, 0.88):
        draw.line([(0, row * size), (size, row * size)], fill=(112, 68, 34), width=max(1, size // 64))


def road(draw: ImageDraw.ImageDraw, rng: np.random.Generator, size: int) -> None:
    horizon = rng.uniform(0.4, 0.46) * size
    gradient(draw, size, shade(rng, (150, 200, 240)), (225, 238, 248), 0.46)
    draw.rectangle([0, horizon, size, size], fill=shade(rng, (120, 165, 85)))
    draw.polygon([(0.42 * size, horizon), (0.58 * size, horizon), (1.15 * size, size), (-0.15 * size, size)], fill=shade(rng, (78, 78, 84)))
    for near, far in ((0.98, 0.82), (0.74, 0.62), (0.57, 0.5)):
        draw.line([(0.5 * size, near * size), (0.5 * size, far * size)], fill=(250, 240, 200), width=max(1, round(size * near / 28)))


def plain(draw: ImageDraw.ImageDraw, rng: np.random.Generator, size: int) -> None:
    draw.rectangle([0, 0, size, size], fill=tuple(rng.integers(238, 256, 3).tolist()))


def backdrop(colour: Colour) -> Painter:
    """Return the painter of a plain coloured background."""

    def paint(draw: ImageDraw.ImageDraw, rng: np.random.Generator, size: int) -> None:
        draw.rectangle([0, 0, size, size], fill=shade(rng, colour))

    return paint


SCENES: dict[str, tuple[str, Painter]] = {
    "plain": ("", plain),
    "beach": ("on the beach", beach),
    "moon": ("on the moon", moon),
    "water": ("under water", water),
    "forest": ("in the forest", forest),
    "snow": ("in the snow", snow),
    "grass": ("on the grass", grass),
    "desert": ("in the desert", desert),
    "city": ("in the city", city),
    "sky": ("in the sky", sky),
    "night": ("at night", night),
    "rain": ("in the rain", rain),
    "table": ("on a table", table),
    "road": ("on the road", road),
    **{colour: (f"on a{'n' if colour[0] == 'o' else ''} {colour} background", backdrop(rgb)) for colour, rgb in COLOURS.items()},
}
"""Scene -> (the words of a caption, its painter)."""


def paint_scene(name: str, rng: np.random.Generator, size: int) -> Image.Image:
    """Return one picture of a scene, drawn at four times the size and reduced so that edges are smooth."""
    picture = Image.new("RGB", (4 * size, 4 * size))
    SCENES[name][1](ImageDraw.Draw(picture), rng, 4 * size)
    return picture.reduce(4)
