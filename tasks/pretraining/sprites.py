"""Changes to a thing's sprite before it is put on a scene: painting, redrawing, crossing with another."""

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from tasks.pretraining.media import outlined
from tasks.pretraining.scenes import COLOURS

PORTRAIT_SIZE = 32  # px


def painted(sprite: Image.Image, colour: str) -> Image.Image:
    """Return a sprite in one colour that keeps its light and shade."""
    gray = ImageOps.autocontrast(ImageOps.grayscale(sprite.convert("RGB")), mask=sprite.getchannel("A").point(lambda alpha: 255 * (alpha > 128)))
    dark, light = tuple(value // 5 for value in COLOURS[colour]), tuple(255 - (255 - value) // 4 for value in COLOURS[colour])
    coloured = ImageOps.colorize(gray, dark, light, COLOURS[colour]).convert("RGBA")
    coloured.putalpha(sprite.getchannel("A"))
    return coloured


def redrawn(rng: np.random.Generator, sprite: Image.Image) -> Image.Image:
    """Return a sprite as another artist might draw it.

    It is slanted and stretched, and may be mirrored, in other hues, paler or stronger, flat, or with an ink line.
    """
    drawn = ImageOps.mirror(sprite) if rng.random() < 0.5 else sprite
    slant, (wide, high) = rng.uniform(-0.15, 0.15, 2), rng.uniform(1.0, 1.3, 2)
    matrix = np.array([[wide, slant[0]], [slant[1], high]])
    centre = np.array(sprite.size) / 2
    shift = centre - matrix @ centre
    drawn = drawn.transform(sprite.size, Image.Transform.AFFINE, (*matrix[0], shift[0], *matrix[1], shift[1]), Image.Resampling.BILINEAR)
    if rng.random() < 0.5:
        drawn = recoloured(drawn, round(rng.normal(0, 12)))
    drawn = ImageEnhance.Color(drawn).enhance(rng.uniform(0.3, 1.6))
    if rng.random() < 0.5:
        flat = ImageOps.posterize(drawn.convert("RGB").filter(ImageFilter.ModeFilter(5)), 3)
        flat.putalpha(drawn.getchannel("A"))
        drawn = flat
    return outlined(drawn) if rng.random() < 0.5 else drawn


def recoloured(sprite: Image.Image, turn: int) -> Image.Image:
    """Turn the hues of a sprite, in 256ths of the circle."""
    hue, *rest = sprite.convert("RGB").convert("HSV").split()
    turned = Image.merge("HSV", [hue.point(lambda value: (value + turn) % 256), *rest]).convert("RGBA")
    turned.putalpha(sprite.getchannel("A"))
    return turned


def crossed(rng: np.random.Generator, sprite: Image.Image, other: Image.Image) -> Image.Image:
    """Return a thing without a name: a sprite that carries a smaller one, or that is half replaced by another one."""
    side = sprite.width
    if rng.random() < 0.5:
        small = round(side * rng.uniform(0.35, 0.6))
        thing = sprite.copy()
        thing.alpha_composite(other.resize((small, small), Image.Resampling.BILINEAR), tuple(rng.integers(side - small, size=2).tolist()))
        return thing
    cut = round(side * rng.uniform(0.35, 0.65))
    half = Image.new("L", sprite.size, 0)
    half.paste(255, (0, cut, side, side) if rng.random() < 0.7 else (cut, 0, side, side))
    return Image.composite(other, sprite, half)


def portrait(sprite: Image.Image) -> Image.Image:
    """Return a sprite alone on grey, at its full size."""
    picture = Image.new("RGB", sprite.size, (127, 127, 127))
    picture.paste(sprite, (0, 0), sprite)
    return picture.resize((PORTRAIT_SIZE, PORTRAIT_SIZE), Image.Resampling.BOX)
