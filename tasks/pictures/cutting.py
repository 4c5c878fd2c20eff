"""Cutting a thing from a plain ground, so that a judge of the thing sees neither the ground nor the thing's place and size."""

import numpy as np
from PIL import Image
from scipy import ndimage

TOLERANCE = 30  # grey levels by which a plain ground may differ from its colour in a channel
EVENNESS = 0.9  # the least share of a picture's border that a plain ground fills
LEAST = 0.02  # the least share of the picture that a thing covers
MARGIN = 0.06  # of the cut's side, around the thing
WHITE = (255, 255, 255)


def cut_out(picture: Image.Image) -> Image.Image:
    """Return the thing of a picture alone, centred on a white square, if its ground is plain; otherwise the picture as it is."""
    pixels = np.asarray(picture.convert("RGB"), dtype=np.int16)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    colour = np.median(border, axis=0)
    if (np.abs(border - colour).max(axis=1) <= TOLERANCE).mean() < EVENNESS:
        return picture
    parts, _ = ndimage.label(np.abs(pixels - colour).max(axis=2) <= TOLERANCE)
    edge = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    thing = ~np.isin(parts, edge[edge > 0])  # a part of the thing that has the ground's colour stays, unless it touches the ground
    rows, columns = np.flatnonzero(thing.any(axis=1)), np.flatnonzero(thing.any(axis=0))
    if thing.mean() < LEAST:
        return picture
    alone = Image.fromarray(np.where(thing[..., None], pixels, 255).astype(np.uint8))
    high, wide = rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0]
    side = round(max(high, wide) * (1 + 2 * MARGIN))
    square = Image.new("RGB", (side, side), WHITE)
    square.paste(alone.crop((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)), ((side - wide) // 2, (side - high) // 2))
    return square
