"""The page of a questionnaire: one HTML file that needs no other and does not say which picture is whose."""

import base64
import hashlib
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

MOST_BYTES = 8_000_000
"""The largest page; a larger one is slow to open on a phone."""
DATA = re.compile(rb'id="data">(.*?)</script>', re.DOTALL)


def digest(data: bytes) -> str:
    """Return what a picture is called in a questionnaire."""
    return hashlib.sha256(data).hexdigest()[:16]


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
    addresses = {name: f"data:image/webp;base64,{base64.b64encode(data).decode()}" for name, data in sorted(files.items())}
    html = drawn({"id": record["id"], "items": (items := shown(record)), "pictures": addresses}).encode()
    if len(html) > MOST_BYTES:
        raise ValueError(
            f"the page would have {len(html) / 1e6:.1f} MB for {len(items)} items, and at most {MOST_BYTES / 1e6:.0f} MB open well on a phone; "
            "name fewer concepts, or lower --items"
        )
    return html


def shown(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the items of a questionnaire without what a rater must not know."""
    return [{key: item[key] for key in ("part", "kind", "text", "training", "pictures")} for item in record["items"]]


def drawn(data: Mapping[str, Any], write_token: str = "") -> str:
    """Return the HTML of a page. write_token: lets a page that the app shows send its answers to the app."""
    templates = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return templates.get_template("questionnaire.html.j2").render(data=data, write_token=write_token).lstrip()


def read_data(path: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a page shows, without its script.

    Raises:
        ValueError: the page does not show what its record says.
    """
    found = DATA.search(path.read_bytes())
    try:
        data = json.loads(found[1]) if found else {}
        pictures = {name: base64.b64decode(address.removeprefix("data:image/webp;base64,")) for name, address in data["pictures"].items()}
        same = (data["id"], data["items"]) == (record["id"], shown(record)) and all(digest(one) == name for name, one in pictures.items())
    except (ValueError, TypeError, KeyError, AttributeError):
        same = False
    if not same:
        raise ValueError(f"{path} does not show the pictures of its record; it was changed, so write a new questionnaire")
    return data
