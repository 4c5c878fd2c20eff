"""The media of the emoji world, such as photo, cartoon and oil painting: the words and the filter of each."""

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageFilter, ImageOps

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


def blueprint(picture: Image.Image) -> Image.Image:
    edges = ImageOps.grayscale(picture).filter(ImageFilter.FIND_EDGES).crop((1, 1, SIZE - 1, SIZE - 1)).resize(picture.size)
    return ImageOps.colorize(ImageOps.autocontrast(edges, cutoff=1), (25, 60, 150), (245, 250, 255))


def watercolor(picture: Image.Image) -> Image.Image:
    """Return a watercolour: soft, pale, with colour pooled at the edges, on white paper that shows at the border."""
    soft = picture.filter(ImageFilter.MedianFilter(5)).filter(ImageFilter.GaussianBlur(1))
    pooled = ImageChops.subtract(soft, picture.filter(ImageFilter.CONTOUR).convert("L").point(lambda v: (255 - v) // 6).convert("RGB"))
    pale = Image.blend(pooled, Image.new("RGB", picture.size, (255, 252, 245)), 0.4)
    border = Image.new("L", picture.size, 0)
    border.paste(255, (5, 5, SIZE - 5, SIZE - 5))
    return Image.composite(pale, Image.new("RGB", picture.size, (255, 252, 245)), border.filter(ImageFilter.GaussianBlur(2)))


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
    "blueprint": Medium("a blueprint of", "blueprint", "fluent", blueprint),
    "watercolor": Medium("a watercolor of", "watercolor", "fluent", watercolor),
}
MEDIUM_SHARES = {"photo": 0.4, "cartoon": 0.08, "icon": 0.08} | dict.fromkeys(list(MEDIA)[3:], 0.055)
ANY_ART = Medium("a picture of", "picture", "")
"""The medium of art that no other medium names; only the scorer is trained on it."""
