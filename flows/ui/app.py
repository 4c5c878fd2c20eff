"""The app's addresses: pages for people, and what their scripts ask for. Every address calls a function that a command uses too."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined

import tasks.drawing
from flows.ui import builds, concept, gallery
from flows.ui.api import api
from flows.ui.drawings import Drawings
from flows.ui.guard import Access, guard
from flows.ui.pictures import pictures
from tasks import artifacts
from tasks.drawing.page import portable
from tasks.pipeline.door import MENDABLE
from tasks.pipeline.graph import STAGES
from tasks.registry.promotion import SCORES
from tasks.settings import load_settings
from tasks.words.formats import FORMATS

HERE = Path(__file__).parent
DRAWING = Path(tasks.drawing.__file__).parent  # the report's frame, style and parts, which the app's pages share


def make_app(access: Access, worker: ThreadPoolExecutor) -> FastAPI:
    """Return the app of the catalog in this folder. worker: the one thread that draws, in whose process the model stays in memory."""
    app = FastAPI(title="wordmint", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.access, app.state.drawings = access, Drawings(worker)
    app.middleware("http")(guard(access))
    app.mount("/static", StaticFiles(directory=HERE / "static"))
    app.include_router(api)
    app.include_router(pictures)
    templates = environment()

    def page(request: Request, name: str, status: int = 200, **content: Any) -> HTMLResponse:
        shared = {"access": access, "path": request.url.path, "catalog": Path.cwd().name}
        return HTMLResponse(templates.get_template(f"{name}.html.j2").render(**shared, **content), status)

    @app.get("/style.css")
    def style() -> FileResponse:
        return FileResponse(DRAWING / "style.css", media_type="text/css")

    @app.get("/")
    def gallery_page(request: Request) -> HTMLResponse:
        settings = load_settings()
        cards = gallery.cards(settings)
        shown = [name for name in SCORES if any(name in card["scores"] for card in cards)]
        kinds = {card["key"]: card["kind"] for card in cards}
        return page(request, "gallery", cards=cards, shown=shown, planes=gallery.planes(settings), kinds=kinds)

    @app.get("/concepts/{key}")
    def concept_page(request: Request, key: str) -> HTMLResponse:
        settings = load_settings()
        if key not in settings.concepts:
            raise HTTPException(404, f"this catalog has no concept {key}")
        return page(request, "concept", concept=concept.facts(key, settings), settings=settings, formats=list(FORMATS))

    @app.get("/concepts/{key}/compare")
    def comparison(key: str, one: int, two: int) -> HTMLResponse:
        return HTMLResponse(concept.comparison(key, one, two), headers={"Content-Security-Policy": concept.COMPARISON_POLICY})

    @app.get("/add")
    def add_page(request: Request) -> HTMLResponse:
        return page(request, "add", settings=load_settings())

    @app.get("/build")
    def build_page(request: Request) -> HTMLResponse:
        return page(request, "build", settings=load_settings(), stages=STAGES, build=builds.watched())

    @app.get("/playground")
    def playground(request: Request) -> HTMLResponse:
        settings = load_settings()
        words = [{"word": one.placeholder_token, "key": key, "kind": one.kind} for key, one in settings.concepts.items() if drawable(key)]
        return page(request, "playground", settings=settings, words=words)

    def told(request: Request, status: int, why: str) -> Response:
        if request.url.path.startswith("/api/"):
            return JSONResponse({"error": why}, status_code=status)
        return page(request, "error", status, why=why, code=status)

    @app.exception_handler(404)
    @app.exception_handler(405)
    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        return told(request, error.status_code, "there is no such page" if error.detail == "Not Found" else str(error.detail))

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> Response:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc'][1:]))}: {fault['msg']}" for fault in error.errors())
        return told(request, 422, faults)

    for kind in MENDABLE:

        @app.exception_handler(kind)
        async def mendable(request: Request, error: Exception) -> Response:
            return told(request, 400, " ".join(str(error).split()))

    return app


def drawable(key: str) -> bool:
    """Tell whether a concept has a champion, by its record on this machine."""
    return artifacts.registered(key).exists() and "champion" in artifacts.read_json(artifacts.registered(key))["aliases"]


def environment() -> Environment:
    loader = ChoiceLoader([FileSystemLoader(HERE), FileSystemLoader(DRAWING)])
    found = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    found.filters |= {"number": "{:.3f}".format, "portable": portable}
    return found
