"""Pictures that a browser sends. Each is kept under a name of our own and read as the curate stage reads: by size, pixels and type."""

import re
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path

from tasks import artifacts
from tasks.pictures.reading import UnusableError, check_file, read_picture
from tasks.settings import Settings

UPLOADS = artifacts.CACHE / "uploads"
MOST_BYTES = 64 * 2**20
OLD = 24 * 3600  # s; an upload that nobody used within this time is deleted
KEY = re.compile(r"[0-9a-f]{16}")


async def keep_upload(body: AsyncIterator[bytes]) -> str:
    """Write what a browser sends to a new file and return its id; raise a ValueError if it is too large."""
    key = secrets.token_hex(8)
    UPLOADS.mkdir(parents=True, exist_ok=True)
    temporary, size = UPLOADS / f".{key}.tmp", 0
    try:
        with temporary.open("wb") as file:
            async for part in body:
                size += len(part)
                if size > MOST_BYTES:
                    raise ValueError(f"a picture may have at most {MOST_BYTES >> 20} MiB; make it smaller")
                file.write(part)
        temporary.replace(UPLOADS / key)
    finally:
        temporary.unlink(missing_ok=True)
    return key


def upload(key: str) -> Path:
    """Return the file of an upload; raise a ValueError if there is none."""
    path = UPLOADS / key
    if not KEY.fullmatch(key) or not path.is_file():
        raise ValueError("this picture is no longer here; add it again")
    return path


def check_upload(key: str, settings: Settings) -> str | None:
    """Return why an upload cannot be used, or None; one that is no picture is deleted."""
    path = upload(key)
    try:
        check_file(path)
        read_picture(path, 64, settings.curate.min_side, settings.curate.max_pixels)
    except UnusableError as reason:
        path.unlink()
        return str(reason)
    return None


def forget_old_uploads() -> None:
    """Delete the uploads of earlier days."""
    for path in UPLOADS.glob("*") if UPLOADS.is_dir() else ():
        if time.time() - path.stat().st_mtime > OLD:
            path.unlink(missing_ok=True)
