"""A concept's samples as one small picture, for pages that have little room."""

import io
from pathlib import Path

from PIL import Image

from tasks import artifacts
from tasks.drawing import plots

SIDE = 96  # px of a picture
MOST = 8  # prompts that are shown


def strip(samples: Path) -> bytes | None:
    """Return the first picture of each prompt in a row as WebP, or None where this machine has none of a concept's samples."""
    record, pictures = samples / "samples.json", list[Image.Image]()
    for prompt in artifacts.read_json(record)["prompts"][:MOST] if record.exists() else ():
        for path in sorted((samples / "word" / prompt["slug"]).glob("*.png"))[:1]:
            with Image.open(path) as picture:
                pictures.append(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS))
    if not pictures:
        return None
    written = io.BytesIO()
    plots.grid(pictures, MOST).save(written, "WEBP", quality=80)
    return written.getvalue()
