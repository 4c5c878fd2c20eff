"""A thing is cut from a plain ground, and any other picture stays as it is."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tasks.pictures.cutting import TOLERANCE, WHITE, cut_out


def ring(ground: tuple[int, int, int], place: tuple[int, int], radius: int, noise: int = 0) -> Image.Image:
    """Draw a red ring whose hole shows the ground."""
    picture, (x, y) = Image.new("RGB", (64, 64), ground), place
    ImageDraw.Draw(picture).ellipse([x - radius, y - radius, x + radius, y + radius], outline=(200, 20, 20), width=4)
    pixels = np.asarray(picture, dtype=int) + np.random.default_rng(0).integers(-noise, noise + 1, (64, 64, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("ground", [(255, 255, 255), (40, 60, 200), (10, 10, 10)])
def test_neither_the_ground_nor_the_place_nor_the_size_is_left(ground: tuple[int, int, int]) -> None:
    small, large = (cut_out(ring(ground, place, radius, noise=6)).resize((32, 32)) for place, radius in (((20, 40), 12), ((34, 30), 24)))
    assert small.getpixel((0, 0)) == large.getpixel((0, 0)) == WHITE
    reds = [np.asarray(picture, dtype=int)[..., 0] - np.asarray(picture, dtype=int)[..., 1] > 60 for picture in (small, large)]
    for red in reds:
        rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
        assert (rows[0], 31 - rows[-1], columns[0], 31 - columns[-1]) == pytest.approx((1, 1, 1, 1), abs=2)


def test_a_hole_of_the_thing_stays_as_it_is() -> None:
    ground = (40, 60, 200)
    cut = cut_out(ring(ground, (32, 32), 20))
    assert cut.getpixel((cut.width // 2, cut.height // 2)) == ground


def halves(distance: int) -> Image.Image:
    picture = ring((100, 100, 100), (32, 32), 12)
    picture.paste((100 + distance,) * 3, (0, 0, 64, 20))
    return picture


def test_a_scene_is_not_cut() -> None:
    scene, even = halves(TOLERANCE + 1), halves(TOLERANCE - 1)
    assert cut_out(scene) is scene
    assert cut_out(even) is not even


def test_a_picture_of_nothing_is_not_cut() -> None:
    empty = Image.new("RGB", (64, 64), "white")
    assert cut_out(empty) is empty
