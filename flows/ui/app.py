"""The app: pages for people, and what their scripts ask for. Every address calls a function that a command uses too."""

from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles

from flows.ui.api import api
from flows.ui.drawings import Drawings
from flows.ui.guard import Access, guard
from flows.ui.pages import page, pages
from flows.ui.pictures import pictures
from tasks.pipeline.door import MENDABLE


def make_app(access: Access, worker: ThreadPoolExecutor) -> FastAPI:
    """Return the app of the catalog in this folder. worker: the one thread that draws, in whose process the model stays in memory."""
    app = FastAPI(title="wordmint", docs_url=None, redoc_url=None, openapi_url=None, exception_handlers=HANDLERS)
    app.state.access, app.state.drawings = access, Drawings(worker)
    app.state.ends = lambda: False  # whether the app is ending; `serve` replaces it
    app.middleware("http")(guard(access))
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    for router in (api, pictures, pages):
        app.include_router(router)
    return app


async def refused(request: Request, error: HTTPException) -> Response:
    return told(request, error.status_code, "there is no such page" if error.detail == "Not Found" else str(error.detail))


async def malformed(request: Request, error: RequestValidationError) -> Response:
    faults = "; ".join(f"{'.'.join(map(str, fault['loc'][1:]))}: {fault['msg']}" for fault in error.errors())
    return told(request, 422, faults)


async def mendable(request: Request, error: Exception) -> Response:
    return told(request, 400, " ".join(str(error).split()))


def told(request: Request, status: int, why: str) -> Response:
    """Answer with what went wrong: as JSON to a script, as a page to a person."""
    if request.url.path.startswith(("/api/", "/pictures/", "/thumbnails/")):
        return JSONResponse({"error": why}, status_code=status)
    return page(request, "error", status, why=why, code=status)


HANDLERS: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    404: refused,
    405: refused,
    HTTPException: refused,
    RequestValidationError: malformed,
    **dict.fromkeys(MENDABLE, mendable),
}
