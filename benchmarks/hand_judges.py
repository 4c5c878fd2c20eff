"""Two judges of the emoji world that learn nothing, for comparison with the learned scorer: each compares a picture with every noun's sprite."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

SIDE = 32
SCALES, SHIFTS = (0.7, 0.78, 0.86), (-4, -2, 0, 2, 4)


def on_white(sprite: Image.Image, scale: float, shift: tuple[int, int] = (0, 0), size: int = 64) -> Image.Image:
    """Put a sprite on white at the position of a single thing in the world's pictures."""
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
    cells = np.arange(picture.height) // cell
    index = (cells[:, None] * 4 + cells[None]) * 8 + direction
    gradients = np.sqrt(np.bincount(index.ravel(), strength.ravel(), 128))
    return np.concatenate([part / max(float(np.linalg.norm(part)), 1e-9) for part in (np.sqrt(colours.ravel()), gradients)])


def judge_by_histograms(pictures: Sequence[Image.Image], sprites: Sequence[Image.Image]) -> np.ndarray:
    """Return the cosines of colour and gradient histograms with each noun's sprite: (pictures, nouns)."""
    prototypes = np.stack([np.mean([histograms(on_white(sprite, scale)) for scale in SCALES], axis=0) for sprite in sprites])
    return np.stack([histograms(picture) for picture in pictures]) @ prototypes.T


def judge_by_pixels(pictures: Sequence[Image.Image], sprites: Sequence[Image.Image]) -> np.ndarray:
    """Return minus the mean squared difference from each noun's sprite at its best position and size: (pictures, nouns)."""

    def flat(picture: Image.Image) -> np.ndarray:
        return np.asarray(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float32).ravel() / 255

    flattened = np.stack([flat(picture) for picture in pictures])
    columns = []
    for sprite in sprites:
        placed = np.stack([flat(on_white(sprite, scale, (x, y))) for scale in SCALES for x in SHIFTS for y in SHIFTS])
        distances = (flattened**2).sum(axis=1, keepdims=True) - 2 * flattened @ placed.T + (placed**2).sum(axis=1)
        columns.append(-distances.min(axis=1) / flattened.shape[1])
    return np.stack(columns, axis=1)


def confidence(similarity: np.ndarray, truth: Sequence[int]) -> np.ndarray:
    """Return how much more each picture is like its true noun than like the average noun: (pictures,)."""
    return similarity[np.arange(len(truth)), list(truth)] - similarity.mean(axis=1)


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return Spearman's rank correlation of two judgements of the same pictures."""
    return float(np.corrcoef(one.argsort().argsort(), other.argsort().argsort())[0, 1])
