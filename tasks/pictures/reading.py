"""One picture from a file that nobody has vetted: opened safely, upright, RGB, square."""

import os
import stat
import threading
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")  # no EPS: Pillow hands it to Ghostscript
TURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Filters of warnings belong to the process and not to the thread, so threads that change them take turns.
WARNING_FILTERS = threading.Lock()


class UnusableError(Exception):
    """A picture cannot be used; the text is the reason, for a person and for the manifest."""


@dataclass(frozen=True)
class Transform:
    mode: str
    """Pillow's mode of the stored pixels."""
    exif_orientation: int
    """1 to 8; 1 is upright."""
    size: tuple[int, int]
    """px, width and height of the upright picture."""
    crop: tuple[int, int, int, int]
    """px of the upright picture: left, top, right, bottom."""


@dataclass(frozen=True)
class Picture:
    image: Image.Image
    """RGB, (resolution, resolution), without metadata."""
    transform: Transform

    def entry(self) -> dict[str, Any]:
        """Return what the manifest stores of the picture."""
        return asdict(self.transform)


def check_file(path: Path) -> None:
    """Check that `path` is a file of its folder and not empty, without opening it.

    Raises:
        UnusableError: it is a link to elsewhere, not a regular file, empty, or may not be read.
    """
    if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(path.parent)):
        raise UnusableError("a link that leads out of the folder; copy the file itself")
    try:
        status = path.stat()
    except OSError:
        raise UnusableError("a link that leads nowhere") from None
    if not stat.S_ISREG(status.st_mode):
        raise UnusableError("a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file")
    if status.st_size == 0:
        raise UnusableError("empty file")
    if not os.access(path, os.R_OK):
        raise UnusableError("a file without read permission")


def read_picture(path: Path, resolution: int, min_side: int, max_pixels: int) -> Picture:
    """Read a picture upright as RGB, crop its central square and resize that to (resolution, resolution).

    min_side: px of the shorter side. max_pixels: checked in the header; a picture with more is not decoded.
    Pillow's own limit (twice `Image.MAX_IMAGE_PIXELS`) holds as well. Colour profiles are ignored.

    Raises:
        UnusableError: the file is no picture, damaged, animated, too small or too large.
    """
    with WARNING_FILTERS, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # large, corrupt EXIF, odd palette: each has its rule here
        try:
            with Image.open(path, formats=FORMATS) as image:
                check_header(image, min_side, max_pixels)
                return decode(image, resolution)
        except UnusableError:
            raise
        except Image.DecompressionBombError:
            raise UnusableError(f"more pixels than max_pixels = {max_pixels} or Pillow's own limit") from None
        except UnidentifiedImageError:
            raise UnusableError(f"not a picture in {', '.join(FORMATS)}") from None
        except Exception:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, EOFError, ... on bad bytes
            raise UnusableError("truncated or damaged") from None


def check_header(image: Image.Image, min_side: int, max_pixels: int) -> None:
    """Check what is known before a picture is decoded.

    Raises:
        UnusableError: it is too large, too small, or more than one picture.
    """
    width, height = image.size
    if width * height > max_pixels:
        raise UnusableError(f"{width} x {height} is more pixels than max_pixels = {max_pixels}")
    if min(width, height) < min_side:
        raise UnusableError(f"{width} x {height} is smaller than min_side = {min_side}")
    # The further frames of an MPO, which many phones write, are previews of the same photograph.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise UnusableError("several pages" if image.format == "TIFF" else "animated")


def decode(image: Image.Image, resolution: int) -> Picture:
    """Decode an opened picture and bring it to (resolution, resolution)."""
    mode = image.mode
    turned_by_pillow = image.format == "TIFF"
    exif_orientation = orientation(image) if turned_by_pillow else 1
    image.load()
    upright: Image.Image = image
    if not turned_by_pillow:  # read after load, since a PNG may keep its EXIF behind the pixels
        exif_orientation = orientation(image)
        if exif_orientation != 1:
            upright = image.transpose(TURN[exif_orientation])
    crop = central_square(*upright.size)
    # Cropped through `box`, because crop() applies Pillow's limit of pixels once more.
    square = to_rgb(upright).resize((resolution, resolution), Image.Resampling.LANCZOS, box=crop, reducing_gap=3.0)
    square.info.clear()  # else profile and comments would go into the PNG
    return Picture(square, Transform(mode, exif_orientation, upright.size, crop))


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 where it is missing, unknown or unreadable."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # broken EXIF raises as variously as broken pixels, but the picture itself is whole
        return 1
    return value if value in TURN else 1


def central_square(width: int, height: int) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the largest square in the middle; all in px."""
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB: 16 bits are scaled, transparency is laid on white.

    Raises:
        UnusableError: the pixels are numbers without a known range.
    """
    if image.mode == "F":
        raise UnusableError("floating-point pixels have no known range; save it with 8 bits")
    if image.mode.startswith("I"):
        image = eight_bits(image)
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image if image.mode == "RGBA" else image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")  # convert() copies even then, and the largest picture takes 700 MB


def eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey (modes I;16 and I) to mode L, where Pillow's convert() would clip it; transparent pixels turn white.

    Raises:
        UnusableError: a value is outside of 16 bits.
    """
    pixels = np.asarray(image)
    if pixels.min() < 0 or pixels.max() > 65535:
        raise UnusableError("pixels outside of 16 bits; save it with 8 bits")
    grey = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[pixels == transparent] = 255
    return Image.fromarray(grey)
