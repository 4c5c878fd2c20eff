"""Which pictures of a set to leave out; every rule returns its reasons by name."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import imagehash
import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor


def screen(images: Mapping[str, Image.Image], digests: Mapping[str, str], min_sharpness: float, max_distance: int) -> dict[str, str]:
    """Drop exact duplicates, then blurred pictures, then near duplicates: in this order the sharp copy of a blurred picture stays."""
    dropped = exact_duplicates({name: digests[name] for name in images})
    dropped |= blurred({name: image for name, image in images.items() if name not in dropped}, min_sharpness)
    dropped |= near_duplicates({name: image for name, image in images.items() if name not in dropped}, max_distance)
    return dropped


def exact_duplicates(digests: Mapping[str, str]) -> dict[str, str]:
    """Drop files with the same digest as an earlier one."""
    first: dict[str, str] = {}
    owners = {name: first.setdefault(digest, name) for name, digest in digests.items()}
    return {name: f"the same file as {owner}" for name, owner in owners.items() if owner != name}


def sharpness(image: Image.Image) -> float:
    """Return the standard deviation of the Laplacian (four neighbours) of a picture, in grey levels of 0 to 255."""
    grey = np.asarray(image.convert("L"), dtype=np.float64)
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]
    return float(laplacian.std())


def blurred(images: Mapping[str, Image.Image], min_sharpness: float) -> dict[str, str]:
    """Drop pictures whose sharpness is below `min_sharpness` grey levels."""
    measured = {name: sharpness(image) for name, image in images.items()}
    return {name: f"blurred (sharpness {value:.1f}, limit {min_sharpness:g})" for name, value in measured.items() if value < min_sharpness}


def near_duplicates(images: Mapping[str, Image.Image], max_distance: int) -> dict[str, str]:
    """Drop pictures whose perceptual hash (pHash, 64 bits) is at most `max_distance` bits from that of an earlier kept one."""
    kept: dict[str, imagehash.ImageHash] = {}
    dropped: dict[str, str] = {}
    for name, image in images.items():
        picture_hash = imagehash.phash(image)
        distances = {other: picture_hash - kept[other] for other in kept}
        nearest = min(distances, key=distances.__getitem__, default=None)
        if nearest is not None and distances[nearest] <= max_distance:
            dropped[name] = f"near duplicate of {nearest} (distance {distances[nearest]} of 64, limit {max_distance})"
        else:
            kept[name] = picture_hash
    return dropped


def outliers(names: Sequence[str], features: "Tensor", min_similarity: float) -> dict[str, str]:
    """Drop pictures whose mean cosine with the rest is below `min_similarity`, the farthest first, while three are left.

    features: (len(names), dim), L2-normalised. They are dropped one at a time, because an outlier also lowers the
    mean of all others. Of two pictures nothing tells which one is odd.
    """
    cosine = features.double() @ features.double().T
    remaining = list(range(len(names)))
    dropped: dict[str, str] = {}
    while len(remaining) >= 3:
        square = cosine[remaining][:, remaining]
        means = (square.sum(dim=1) - square.diagonal()) / (len(remaining) - 1)
        lowest = int(means.argmin())
        if means[lowest] >= min_similarity:
            break
        dropped[names[remaining.pop(lowest)]] = f"outlier (mean similarity {means[lowest]:.2f} with the rest, limit {min_similarity:g})"
    return dropped
