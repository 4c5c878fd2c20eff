"""The picture files that the app serves. A file is found by its name among those that a folder has; no path of a client is opened."""

import mimetypes
from contextlib import suppress
from functools import lru_cache
from io import BytesIO
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response

from flows.ui.drawings import SO_FAR, picture_of
from flows.ui.gallery import pictures_of
from flows.ui.uploads import upload
from tasks import artifacts
from tasks.pictures.reading import UnusableError, check_file, read_picture
from tasks.pipeline.progress import PREVIEWS
from tasks.settings import load_settings

pictures = APIRouter()
SIDE = 192  # px of a thumbnail


@pictures.get("/thumbnails/{key}/{name}")
def thumbnail(key: str, name: str) -> Response:
    """Answer with a person's picture as a small square, read as the curate stage reads."""
    settings = load_settings()
    path = pictures_of(key).get(name) if key in settings.concepts else None
    if path is None:
        raise HTTPException(404, "there is no such picture")
    return small(path, settings.curate.max_pixels)


@pictures.get("/thumbnails/{key}")
def thumbnail_of_upload(key: str) -> Response:
    return small(upload(key), load_settings().curate.max_pixels)


def small(path: Path, max_pixels: int) -> Response:
    try:
        check_file(path)
        return Response(thumbnail_bytes(path, path.stat().st_mtime_ns, max_pixels), media_type="image/png")
    except UnusableError as reason:
        raise HTTPException(415, str(reason)) from reason


@lru_cache(maxsize=2_000)
def thumbnail_bytes(path: Path, written: int, max_pixels: int) -> bytes:
    """Return a picture as a PNG of SIDE px, without metadata. written: the file's time, so that a changed file is read again."""
    data = BytesIO()
    read_picture(path, SIDE, 1, max_pixels).image.save(data, "PNG")
    return data.getvalue()


@pictures.get("/pictures/samples/{key}/{slug}/{name}")
def sample(key: str, slug: str, name: str) -> Response:
    folder = artifacts.samples(key) / "word"
    if key not in load_settings().concepts:
        raise HTTPException(404, "there is no such concept")
    return known(folder, f"{slug}/{name}", "*/*.png")


@pictures.get("/pictures/report/{key}/{name}")
def sprite(key: str, name: str) -> Response:
    if key not in load_settings().concepts:
        raise HTTPException(404, "there is no such concept")
    return known(artifacts.page(key), name, "*.webp")


@pictures.get("/pictures/previews/{key}/{name}")
def preview(key: str, name: str) -> Response:
    if key not in load_settings().concepts:
        raise HTTPException(404, "there is no such concept")
    return known(PREVIEWS / key, name, "*.png", gone=204)  # the concept's next training has begun, which is no fault


@pictures.get("/pictures/drawings/{key}/{name}")
def drawing(request: Request, key: str, name: str) -> Response:
    """Answer with a drawing's picture; 204 says that the one that was being drawn is finished by now."""
    try:
        path = picture_of(request.app.state.drawings, key, name)
    except KeyError:
        path = None
    return sent(path, 204 if path and name == SO_FAR else 404)


def known(folder: Path, name: str, pattern: str, gone: int = 404) -> Response:
    """Answer with a file of a folder by its name. gone: the status where it is not there."""
    names: dict[str, Path] = {}
    with suppress(FileNotFoundError):  # a build may replace the folder at any moment
        names = {path.relative_to(folder).as_posix(): path for path in folder.glob(pattern)}
    return sent(names.get(name), gone)


def sent(path: Path | None, gone: int) -> Response:
    """Answer with a file, which is read at once because a build may replace it, or with the status `gone`."""
    with suppress(FileNotFoundError):
        if path:
            return Response(path.read_bytes(), media_type=mimetypes.guess_type(path.name)[0])
    if gone == 404:
        raise HTTPException(404, "there is no such picture")
    return Response(status_code=gone)
