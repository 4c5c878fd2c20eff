"""What the pages' scripts ask for, as JSON."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, HTTPException, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from flows.ui import adding, builds, concept, gallery, people, uploads
from flows.ui.adding import NewConcept, SentPicture
from flows.ui.imports import import_models
from flows.ui.memory import let_go
from flows.ui.people import NewQuestionnaire, SentAnswers
from tasks.pipeline import progress
from tasks.settings import load_settings
from tasks.using.champions import champion_versions
from tasks.using.orders import order_of
from tasks.versions.records import in_registry

api = APIRouter(prefix="/api")
EVERY = 0.1  # s between two looks at what happens
JUDGING = threading.Lock()  # the models that judge pictures are used by one request at a time


@api.get("/app")
def app(request: Request) -> dict[str, Any]:
    return {"catalog": str(Path.cwd()), "read_only": request.app.state.access.read_only}


@api.get("/states")
def states() -> dict[str, dict[str, str]]:
    return gallery.states(load_settings())


@api.post("/concepts/{key}/rescore")
def rescore(request: Request, key: str, version: Annotated[int | None, Body(embed=True)] = None) -> dict[str, str]:
    load_settings().concept(key)
    return {"said": concept.rescore(key, version, request.app.state.ends)}


@api.post("/concepts/{key}/{action}")
def act(key: str, action: str, version: Annotated[int | None, Body()] = None, why: Annotated[str, Body(max_length=2_000)] = "") -> dict[str, str]:
    load_settings().concept(key)
    if action not in concept.ACTIONS:
        raise HTTPException(404, f"there is no action {action}")
    with concept.deciding(key):
        return {"said": concept.ACTIONS[action](key, version, why)}


@api.get("/concepts/{key}/lineage")
def lineage(key: str, version: str = "champion") -> dict[str, Any]:
    import_models()
    from tasks.versions.lineage import trace

    load_settings().concept(key)
    with in_registry(key, changes=False):
        return trace(f"{key}@{version}")


@api.get("/concepts/{key}/export/{style}")
def export(key: str, style: str) -> Response:
    settings = load_settings()
    settings.concept(key)
    name, data = concept.exported(key, style, settings)
    return Response(data, media_type="application/octet-stream", headers={"Content-Disposition": f'attachment; filename="{name}"'})


@api.put("/uploads", response_model=None)
async def send(request: Request) -> dict[str, str] | Response:
    """Keep a picture and answer with its id; one that is no picture is refused with the reason."""
    try:
        key = await uploads.keep_upload(request.stream())
    except ClientDisconnect:  # nobody hears the answer
        return Response(status_code=499)
    if reason := await run_in_threadpool(uploads.check_upload, key, load_settings()):
        raise ValueError(reason)
    return {"id": key}


@api.post("/judge")
def judge(pictures: Annotated[list[SentPicture], Body(embed=True, max_length=200)]) -> dict[str, dict[str, str]]:
    with JUDGING:
        return adding.judge(pictures, load_settings())


@api.post("/words")
def words(pictures: Annotated[list[str], Body(embed=True, min_length=1, max_length=200)]) -> dict[str, Any]:
    with JUDGING:
        return adding.suggested_words(pictures, load_settings())


@api.post("/concepts")
def add(new: NewConcept) -> dict[str, str]:
    adding.add(new, load_settings())
    return {"said": f"added {new.name}", "concept": new.name}


@api.post("/questionnaires")
def ask(new: NewQuestionnaire) -> dict[str, Any]:
    return people.write(new, load_settings())


@api.post("/answers")
def answers(sent: SentAnswers) -> dict[str, str]:
    return {"said": people.keep(sent, load_settings())}


@api.get("/stale")
def stale() -> dict[str, dict[str, list[str]]]:
    return builds.stale(load_settings())


@api.post("/build")
def build(request: Request, concepts: Annotated[list[str], Body(embed=True)]) -> dict[str, str]:
    builds.start(concepts, settings := load_settings())
    request.app.state.drawings.worker.submit(let_go, settings.runtime.device)  # before the build has imported what it needs
    return {"said": "the build has started"}


@api.delete("/build")
def cancel_build() -> dict[str, str]:
    builds.cancel()
    return {"said": "the build is ending; what is finished stays"}


@api.get("/build/events")
async def build_events(request: Request) -> StreamingResponse:
    """Send the build whenever it changes. A word that is learned is drawn meanwhile, for somebody watches."""

    def look(last: Any) -> tuple[Any, bool]:
        if not request.app.state.access.read_only:
            progress.watch()
        build = builds.watched()
        return build, build != last

    return events(request, look)


@api.get("/drawings")
def drawings(request: Request) -> list[dict[str, Any]]:
    return request.app.state.drawings.latest()


@api.get("/drawings/events")
async def drawing_events(request: Request) -> StreamingResponse:
    """Send what has changed since the last message; the first message has every drawing."""
    known = request.app.state.drawings
    seen = {"change": -1}

    def look(last: Any) -> tuple[Any, bool]:
        changed = known.latest(seen["change"])
        seen["change"] = max((one["change"] for one in changed), default=seen["change"])
        return changed, bool(changed) or last is None

    return events(request, look)


@api.post("/drawings")
def draw(
    request: Request,
    order: Annotated[dict[str, Any], Body()],
    picture: Annotated[str | None, Body()] = None,
    mask: Annotated[str | None, Body()] = None,
) -> dict[str, Any]:
    return request.app.state.drawings.ask(order_of(**order), picture, mask)


@api.get("/drawings/{key}")
def drawing(request: Request, key: str) -> dict[str, Any]:
    try:
        return request.app.state.drawings.find(key)
    except KeyError:
        raise HTTPException(404, "there is no such drawing") from None


@api.get("/champions")
def champions(word: Annotated[list[str], Query(max_length=100)]) -> dict[str, int]:
    return champion_versions(word, load_settings())


@api.delete("/drawings/{key}")
def cancel_drawing(request: Request, key: str) -> dict[str, Any]:
    drawing(request, key)
    request.app.state.drawings.cancel(key)
    return drawing(request, key)


def events(request: Request, look: Callable[[Any], tuple[Any, bool]]) -> StreamingResponse:
    """Answer with server-sent events. look: takes what was sent last, and returns what there is now and whether to send it."""

    async def stream() -> AsyncIterator[str]:
        last, quiet = None, 0.0
        while not await request.is_disconnected():
            try:
                now, changed = await run_in_threadpool(look, last)
            except OSError:  # a build replaces files while they are looked at
                now, changed = last, False
            if changed:
                last, quiet = now, 0.0
                yield f"data: {json.dumps(now)}\n\n"
            elif quiet > 15:
                quiet = 0.0
                yield ": still here\n\n"
            await asyncio.sleep(EVERY)
            quiet += EVERY

    return StreamingResponse(stream(), media_type="text/event-stream")
