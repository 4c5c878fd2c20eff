"""The page of a questionnaire: one HTML file that needs no other and does not say which picture is whose."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

MOST_BYTES = 8_000_000
"""The largest page; a larger one is slow to open on a phone."""


def encoded(path: Path, side: int) -> bytes:
    """Return a picture as WebP without its metadata, which would say how it was drawn."""
    written = io.BytesIO()
    with Image.open(path) as picture:
        picture.convert("RGB").resize((side, side), Image.Resampling.LANCZOS).save(written, "WEBP", quality=85)
    return written.getvalue()


def render(record: Mapping[str, Any], files: Mapping[str, bytes]) -> bytes:
    """Return the page of a questionnaire. files: digest of a picture -> its bytes.

    Raises:
        ValueError: the page would be larger than MOST_BYTES.
    """
    shown = [{key: item[key] for key in ("part", "kind", "text", "training", "pictures")} for item in record["items"]]
    addresses = {digest: f"data:image/webp;base64,{base64.b64encode(data).decode()}" for digest, data in sorted(files.items())}
    templates = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    data = {"id": record["id"], "items": shown, "pictures": addresses}
    html = templates.get_template("questionnaire.html.j2").render(data=data).lstrip().encode()
    if len(html) > MOST_BYTES:
        raise ValueError(
            f"the page would have {len(html) / 1e6:.1f} MB for {len(shown)} items, and at most {MOST_BYTES / 1e6:.0f} MB open well on a phone; "
            "name fewer concepts, or lower --items"
        )
    return html
