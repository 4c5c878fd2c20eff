"""The app's pages."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import FileResponse, HTMLResponse
from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined

import tasks.drawing
from flows.ui import concept, gallery, people
from tasks import artifacts
from tasks.concepts.captions import MOST_WORDS
from tasks.pipeline.door import MENDABLE
from tasks.registry.promotion import SCORES
from tasks.settings import load_settings

DRAWING = Path(tasks.drawing.__file__).parent  # the report's style and parts, which the app's pages share
pages = APIRouter()


def environment() -> Environment:
    loader = ChoiceLoader([FileSystemLoader(Path(__file__).parent), FileSystemLoader(DRAWING)])
    found = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    found.filters["number"] = "{:.3f}".format
    return found


TEMPLATES = environment()


def page(request: Request, name: str, status: int = 200, **content: Any) -> HTMLResponse:
    """Answer with a page."""
    shared = {"access": request.app.state.access, "path": request.url.path, "catalog": Path.cwd().name}
    return HTMLResponse(TEMPLATES.get_template(f"{name}.html.j2").render(**shared, **content), status)


@pages.get("/style.css")
def style() -> FileResponse:
    return FileResponse(DRAWING / "style.css", media_type="text/css")


@pages.get("/")
def gallery_page(request: Request) -> HTMLResponse:
    settings = load_settings()
    cards = gallery.cards(settings)
    shown = [name for name in SCORES if any(name in card["scores"] for card in cards)]
    return page(request, "gallery", cards=cards, shown=shown)


@pages.get("/plane")
def plane(request: Request) -> HTMLResponse:
    """Answer with the plane of all concepts, a part of the gallery that comes after its first paint."""
    settings = load_settings()
    kinds = {key: one.kind for key, one in settings.concepts.items()}
    return page(request, "plane", planes=gallery.planes(settings), kinds=kinds)


@pages.get("/concepts/{key}")
def concept_page(request: Request, key: str) -> HTMLResponse:
    from tasks.words.formats import FORMATS  # torch takes seconds to import, and the gallery does not need it

    settings = load_settings()
    if key not in settings.concepts:
        raise HTTPException(404, f"this catalog has no concept {key}")
    return page(request, "concept", concept=concept.facts(key, settings), settings=settings, formats=list(FORMATS))


@pages.get("/concepts/{key}/compare")
def comparison_page(key: str, one: int, two: int) -> HTMLResponse:
    return HTMLResponse(concept.comparison(key, one, two), headers={"Content-Security-Policy": concept.COMPARISON_POLICY})


@pages.get("/add")
def add_page(request: Request) -> HTMLResponse:
    return page(request, "add", settings=load_settings(), captions=MOST_WORDS)


@pages.get("/build")
def build_page(request: Request) -> HTMLResponse:
    return page(request, "build")


@pages.get("/people")
def people_page(request: Request) -> HTMLResponse:
    return page(request, "people", concepts=people.askable(load_settings()), asked=people.questionnaires())


@pages.get("/people/opinions")
def opinions(request: Request) -> HTMLResponse:
    """Answer with what people say, a part of the page that comes after its first paint."""
    try:
        return page(request, "opinions", facts=people.opinions(load_settings()), why="")
    except MENDABLE as error:
        return page(request, "opinions", facts=None, why=str(error))


@pages.get("/questionnaires/{key}")
def questionnaire(request: Request, key: str) -> HTMLResponse:
    """Answer with a questionnaire's page, which sends its answers to the app, or saves them as a file where the app keeps none."""
    access = request.app.state.access
    html = people.opened(questionnaire_file(key), key, "" if access.read_only else access.write_token)
    return HTMLResponse(html, headers={"Content-Security-Policy": people.policy(html)})


@pages.get("/questionnaires/{key}/file")
def questionnaire_to_send(key: str) -> FileResponse:
    path = questionnaire_file(key)
    return FileResponse(path, media_type="text/html", filename=path.name)


def questionnaire_file(key: str) -> Path:
    path = people.page_file(key)
    if path is None:
        raise HTTPException(404, f"this folder has no page of questionnaire {key}")
    return path


@pages.get("/playground")
def playground_page(request: Request) -> HTMLResponse:
    settings = load_settings()
    words = [{"word": one.placeholder_token, "key": key, "kind": one.kind} for key, one in settings.concepts.items() if drawable(key)]
    return page(request, "playground", settings=settings, words=words)


def drawable(key: str) -> bool:
    """Tell whether a concept has a champion, by its record on this machine, which names the aliases of the newest version alone.

    Every concept with versions has a champion, unless it is revoked or its first version is held back.
    """
    path = artifacts.registered(key)
    return path.exists() and gallery.notice(artifacts.read_json(path)) is None
