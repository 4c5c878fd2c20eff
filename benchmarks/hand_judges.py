"""Two judges of the emoji world that learned nothing, to hold the learned scorer against: they compare a picture with each noun's sprite."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

SIDE = 32
SCALES, SHIFTS = (0.7, 0.78, 0.86), (-4, -2, 0, 2, 4)


def on_white(sprite: Image.Image, scale: float, shift: tuple[int, int] = (0, 0), size: int = 64) -> Image.Image:
    """Put a sprite where the world's pictures show one thing."""
    picture, side = Image.new("RGB", (size, size), (246, 246, 246)), round(size * scale)
    drawn = sprite.resize((side, side), Image.Resampling.BILINEAR)
    picture.paste(drawn, (round(size / 2 - side / 2) + shift[0], round(0.54 * size - side / 2) + shift[1]), drawn)
    return picture


def histograms(picture: Image.Image) -> np.ndarray:
    """Return colours (4 x 4 x 4 bins of RGB) and gradients (8 directions in each of 4 x 4 cells), each part of length one: (192,)."""
    pixels = np.asarray(picture.convert("RGB"), dtype=float)
    colours, _ = np.histogramdd(pixels.reshape(-1, 3), bins=(4, 4, 4), range=[(0, 256)] * 3)
    rows, columns = np.gradient(pixels.mean(axis=2))
    strength, direction = np.hypot(rows, columns), (np.arctan2(rows, columns) % np.pi / np.pi * 8).astype(int).clip(max=7)
    cell = picture.height // 4
    place = np.arange(picture.height) // cell
    index = (place[:, None] * 4 + place[None]) * 8 + direction
    gradients = np.sqrt(np.bincount(index.ravel(), strength.ravel(), 128))
    return np.concatenate([part / max(float(np.linalg.norm(part)), 1e-9) for part in (np.sqrt(colours.ravel()), gradients)])


def judge_by_histograms(pictures: Sequence[Image.Image], sprites: Sequence[Image.Image]) -> np.ndarray:
    """Cosine of colour and gradient histograms with each noun's sprite: (pictures, nouns)."""
    prototypes = np.stack([np.mean([histograms(on_white(sprite, scale)) for scale in SCALES], axis=0) for sprite in sprites])
    return np.stack([histograms(picture) for picture in pictures]) @ prototypes.T


def judge_by_pixels(pictures: Sequence[Image.Image], sprites: Sequence[Image.Image]) -> np.ndarray:
    """Minus the mean squared difference from each noun's sprite at its best place and size: (pictures, nouns)."""

    def flat(picture: Image.Image) -> np.ndarray:
        return np.asarray(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float32).ravel() / 255

    seen = np.stack([flat(picture) for picture in pictures])
    columns = []
    for sprite in sprites:
        places = np.stack([flat(on_white(sprite, scale, (x, y))) for scale in SCALES for x in SHIFTS for y in SHIFTS])
        distances = (seen**2).sum(axis=1, keepdims=True) - 2 * seen @ places.T + (places**2).sum(axis=1)
        columns.append(-distances.min(axis=1) / seen.shape[1])
    return np.stack(columns, axis=1)


def confidence(similarity: np.ndarray, asked: Sequence[int]) -> np.ndarray:
    """Return how much more each picture is like what was asked for than like the average noun: (pictures,)."""
    return similarity[np.arange(len(asked)), list(asked)] - similarity.mean(axis=1)


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's rank correlation of two judgements of the same pictures."""
    return float(np.corrcoef(one.argsort().argsort(), other.argsort().argsort())[0, 1])
