"""The app in a real browser, on a catalog of tiny random models that is built for real; the tests change it one after the other."""

import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import APIResponse, Browser, FilePayload, Page, Route, expect

from tasks import artifacts
from tasks.concepts.captions import read_captions
from tasks.pipeline.device import running_build
from tests.support.app import running_app
from tests.support.browser import PHONE, needs_chromium, opened, serious_faults
from tests.support.catalogs import ROOT, draw_picture, edit_params, run
from tests.support.services import started

pytestmark = [pytest.mark.browser, needs_chromium]
ELEMENT = "<img src=x onerror=alert(1)>\u202egnp"
EVIL = ELEMENT + "{{7*7}}"
"""Text that must stay text: an element with a script, a change of the reading direction, and a template's expression."""


class App:
    """The app that serves the catalog, and pages of it."""

    def __init__(self, chromium: Browser, logs: Path) -> None:
        self.chromium, self.logs, self.starts = chromium, logs, 0
        self.stack = ExitStack()
        self.start()

    def start(self) -> None:
        self.starts += 1
        self.process, self.address = self.stack.enter_context(running_app(self.logs / f"app-{self.starts}.log"))

    @contextmanager
    def page(self, path: str = "/", *refusals: int, **options: Any) -> Iterator[Page]:
        with opened(self.chromium, refusals, **options) as page:
            page.goto(self.address + path)
            yield page


@pytest.fixture(scope="module")
def app(catalog: Path, chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    prompts = {
        "object": ["a photo of a {}", f"a {{}} and {EVIL.replace('{{7*7}}', '')}"],
        "style": ["a picture in the style of {}", "a dog in the style of {}"],
    }
    edit_params(score={"fidelity": None}, sample={"prompts": prompts})
    built = run(sys.executable, "-m", "flows.cli.main", "build")
    assert built.returncode == 0, built.stderr
    app = App(chromium, tmp_path_factory.mktemp("app"))
    with app.stack:
        yield app
        if left := running_build():  # by a test that failed
            os.killpg(left, signal.SIGKILL)


def drawn(seed: int) -> bytes:
    """Return a PNG of blocks that no other seed gives."""
    draw_picture(path := Path(f".cache/drawn/{seed}.png"), seed)
    return path.read_bytes()


def file(name: str, data: bytes) -> FilePayload:
    return {"name": name, "mimeType": "image/png", "buffer": data}


def drop(page: Page, name: str, data: bytes, place: str = "#drop") -> None:
    """Drop a file on the page as a file manager does."""
    script = "([name, data]) => { const dropped = new DataTransfer(); dropped.items.add(new File([new Uint8Array(data)], name)); return dropped; }"
    page.dispatch_event(place, "drop", {"dataTransfer": page.evaluate_handle(script, [name, list(data)])})


def judged(page: Page, act: Callable[[], object]) -> None:
    """Do what changes the set of pictures, and wait for the verdicts."""
    with page.expect_response(lambda answer: answer.url.endswith("/api/judge")):
        act()


def test_a_concept_is_added_built_and_shown(app: App) -> None:
    with app.page("/add", 400) as page:
        chosen = [file(f"{number}.png", drawn(60 + number)) for number in range(3)]
        chosen += [file("same.png", drawn(60)), file(f"{EVIL}.png", b"not a picture")]
        judged(page, lambda: page.set_input_files("#files", chosen))
        expect(page.locator("#refused")).to_contain_text(f"{EVIL}.png: ")
        expect(page.locator("#sheet > li")).to_have_count(4)
        same = page.locator("#sheet > li", has_text="same.png")
        expect(same.locator(".hint")).to_contain_text("would be dropped")
        expect(same.locator(".hint")).to_contain_text("0.png")
        expect(same.locator(".pair figcaption")).to_have_text(["same.png", "0.png"])
        both = same.locator(".pair img").evaluate_all("images => Promise.all(images.map(image => image.decode().then(() => image.naturalWidth)))")
        assert min(both) > 0
        expect(page.locator(".pair img")).to_have_count(2)
        judged(page, same.get_by_role("button", name="leave out").click)
        expect(page.locator("#sheet > li")).to_have_count(3)
        judged(page, page.locator("#sheet > li").first.get_by_role("button", name="turn").click)
        judged(page, lambda: drop(page, f"{EVIL}.png", drawn(63)))
        expect(page.locator("#sheet > li .hint", has_text=re.compile("^kept$"))).to_have_count(4)
        expect(page.locator("#sheet b", has_text=EVIL)).to_be_visible()
        context = page.locator("#sheet > li").nth(1).locator("input:not([type=range])")
        context.fill(EVIL)
        page.fill("[name=name]", "mug")
        page.fill("[name=word]", "coffee")
        page.get_by_label("a short caption").fill("a red mug")
        page.fill("[name=source]", EVIL)
        page.fill("[name=licence]", EVIL)
        page.get_by_role("button", name="no people").click()
        page.get_by_role("button", name="Add and build").click()
        expect(page.locator("#said")).to_contain_text("leave the braces and the word out")
        context.fill(ELEMENT)
        page.get_by_role("button", name="Add and build").click()
        page.wait_for_url("**/build")
        expect(page.locator("#rows tr", has_text="mug").locator("progress")).to_be_visible()
        expect(page.locator("#headline")).to_contain_text("A build is running")
        expect(page.locator("#rows tr", has_text="mug")).to_contain_text("built")
        expect(page.locator("#headline")).to_contain_text("The last build ended")
        expect(page.locator("#stale")).to_contain_text("Every concept is up to date.")
        page.get_by_role("link", name="Gallery").click()
        card = page.locator(".card[data-key=mug]")
        expect(card.locator(".state")).to_have_text("up to date")
        expect(card.locator(".meters b")).to_have_count(2)
        assert page.evaluate("async image => (await image.decode(), image.naturalWidth)", card.locator("img").element_handle()) > 0
        page.goto(f"{app.address}/concepts/mug")
        expect(page.locator(".thumbs li")).to_have_count(4)
        expect(page.locator(".thumbs")).to_contain_text(f"kept, {ELEMENT}")
        assert read_captions(artifacts.images("mug")) == {"short": "a red mug"}


def fill_in(page: Page, name: str) -> None:
    """Fill in the form of a new concept."""
    for field, text in {"name": name, "word": "coffee", "source": "a test", "licence": "CC0-1.0", "consent": "no people"}.items():
        page.fill(f"[name={field}]", text)


def test_a_concept_that_is_added_and_not_built_is_not_told_to_have_failed(app: App) -> None:
    with app.page("/add", 400) as page:
        page.route("**/api/concepts", lambda route: route.fulfill(json={"concept": "fox"}))
        page.route("**/api/build", lambda route: route.fulfill(status=400, json={"error": "a build of this catalog is running"}))
        judged(page, lambda: page.set_input_files("#files", [file("0.png", drawn(60))]))
        fill_in(page, "fox")
        page.get_by_role("button", name="Add and build").click()
        page.wait_for_url("**/concepts/fox")
        expect(page.locator("#said")).to_have_text("fox is added, but not built: a build of this catalog is running")


def test_a_refused_crop_is_told_and_not_added_uncropped(app: App) -> None:
    with app.page("/add", 400) as page:
        judged(page, lambda: page.set_input_files("#files", [file("0.png", drawn(60))]))
        item, zoom = page.locator("#sheet > li"), page.get_by_label("zoom")
        expect(item.locator(".hint")).to_have_text("kept")
        zoom.fill("3")
        expect(item.locator(".hint")).to_contain_text("cannot be used like this: 32 x 32 is smaller than min_side")
        expect(item).to_have_class("dropped")
        fill_in(page, "cup")
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.locator("#said")).to_contain_text("0.png cannot be used as it is cropped: 32 x 32 is smaller")
        judged(page, lambda: zoom.fill("1"))
        expect(item.locator(".hint")).to_have_text("kept")


def test_of_two_quick_turns_the_second_one_is_added(app: App) -> None:
    """The first turn's upload is answered last."""
    late: list[Route] = []

    def turned(route: Route) -> None:
        if late:
            route.fulfill(json={"id": "b" * 16})
            late[0].fulfill(json={"id": "a" * 16})
        else:
            late.append(route)

    with app.page("/add") as page:
        judged(page, lambda: page.set_input_files("#files", [file("0.png", drawn(60))]))
        page.route("**/api/uploads", turned)
        page.route("**/api/judge", lambda route: route.fulfill(json={"b" * 16: {"why": "", "like": ""}}))
        page.route("**/api/words", lambda route: route.fulfill(json={"concept": [], "pictures": {}}))
        page.route("**/api/concepts", lambda route: route.fulfill(json={"concept": "fox"}))
        for _ in range(2):
            page.get_by_role("button", name="turn").click()
        fill_in(page, "fox")
        with page.expect_request("**/api/concepts") as added:
            page.get_by_role("button", name="Add", exact=True).click()
        assert [picture["id"] for picture in added.value.post_data_json["pictures"]] == ["b" * 16]


def test_a_file_may_be_dropped_beside_the_zone(app: App) -> None:
    with app.page("/add") as page:
        judged(page, lambda: drop(page, "0.png", drawn(60), "h1"))
        expect(page.locator("#sheet > li .hint")).to_have_text("kept")
        refused = "event => !document.querySelector('h1').dispatchEvent(new DragEvent(event, {bubbles: true, cancelable: true, dataTransfer: %s}))"
        text, files = "new DataTransfer()", "(() => { const t = new DataTransfer(); t.items.add(new File([], 'x')); return t; })()"
        assert page.evaluate(refused % files, "dragover"), "else the browser opens the file in place of the page"
        assert not page.evaluate(refused % text, "dragover"), "a text may be dragged into a field"


def test_words_that_clip_sees_in_a_picture_are_suggested(app: App) -> None:
    """The tiny random CLIP sees nothing in particular, so the test answers in its place."""

    def seen(route: Route) -> None:
        first, second = route.request.post_data_json["pictures"]
        route.fulfill(json={"concept": [{"word": "owl", "cosine": 0.6}], "pictures": {first: ["snow", "owl", ELEMENT], second: []}})

    with app.page("/add") as page:
        page.route("**/api/words", seen)
        page.fill("[name=word]", "owl")
        with page.expect_response("**/api/words"):
            page.set_input_files("#files", [file("0.png", drawn(60)), file("1.png", drawn(61))])
        chips, context = page.locator(".seen").first.locator("button"), page.locator("#sheet > li").first.get_by_label("What else 0.png shows")
        expect(chips).to_have_text(["snow", ELEMENT])
        chips.first.click()
        page.keyboard.type("in the ")
        expect(context).to_have_value("in the snow")
        expect(chips).to_have_text([ELEMENT])
        expect(page.locator(".seen").nth(1).locator("button")).to_have_count(0)


def ask_to_draw(page: Page, prompt: str, **fields: int) -> None:
    page.fill("[name=prompt]", prompt)
    for name, value in ({"num_inference_steps": 2} | fields).items():
        page.fill(f"[name={name}]", str(value))
    page.get_by_role("button", name="Draw", exact=True).click()


def test_pictures_are_imagined_called_up_again_and_cancelled(app: App) -> None:
    with app.page("/playground") as page:
        page.locator("#prompt").press_sequentially("a photo of a <fo")
        expect(page.locator("#options [aria-selected=true]")).to_have_text("<fox>")
        page.keyboard.press("Enter")
        expect(page.locator("#prompt")).to_have_value("a photo of a <fox>")
        ask_to_draw(page, page.input_value("#prompt"), number=2, seed=5)
        drawing = page.locator(".drawing", has_text="a photo of a <fox>")
        expect(drawing.locator("img")).to_have_count(2)
        expect(drawing.locator("li", has_text="seed 6")).to_be_visible()
        expect(drawing).to_have_attribute("aria-busy", "false")
        ask_to_draw(page, "a dog", number=64, num_inference_steps=500, seed=0)
        waiting = page.locator(".drawing", has_text="a dog")
        waiting.get_by_role("button", name="cancel").click()
        expect(waiting.locator("small", has_text="cancelled")).to_be_visible()
        expect(drawing.locator("small", has_text="seed 5")).to_contain_text("<fox> v1")
        with page.expect_response("**/api/champions?*"):
            drawing.get_by_role("button", name="use again").click()
        expect(page.locator("#other")).to_be_empty()
        page.route("**/api/champions?*", lambda route: route.fulfill(json={"<fox>": 3}))
        drawing.get_by_role("button", name="use again").click()
        expect(page.locator("#other")).to_have_text("drawn with <fox> v1; it would now draw with v3")
        values = {name: page.input_value(f"[name={name}]") for name in ("prompt", "number", "seed", "num_inference_steps")}
        assert values == {"prompt": "a photo of a <fox>", "number": "2", "seed": "5", "num_inference_steps": "2"}
        ask_to_draw(page, "a photo of a <unicorn>", number=1)
        expect(page.locator(".drawing", has_text="<unicorn>").locator(".error-text")).to_contain_text("<unicorn>")
        ask_to_draw(page, EVIL, number=1)
        expect(page.locator(".drawing", has_text=EVIL).locator("img:not([src=x]), .error-text").first).to_be_visible()
        page.reload()
        expect(page.locator(".drawing", has_text=EVIL)).to_be_visible()
        expect(page.locator(".drawing", has_text="a photo of a <fox>").locator("img")).to_have_count(2)
        page.goto(f"{app.address}/playground?prompt={EVIL}")
        expect(page.locator("#prompt")).to_have_value(EVIL)


def test_an_answer_that_comes_late_does_not_hide_what_an_event_said(app: App) -> None:
    held: list[tuple[Route, APIResponse]] = []
    with app.page("/playground") as page:
        page.route("**/api/drawings", lambda route: held.append((route, route.fetch())))
        ask_to_draw(page, "a photo of a <griffin>", number=1)
        error = page.locator(".drawing", has_text="<griffin>").locator(".error-text")
        expect(error).to_contain_text("<griffin>")
        with page.expect_response("**/api/drawings"):
            held[0][0].fulfill(response=held[0][1])
        expect(page.locator("#order .main")).not_to_have_attribute("aria-disabled", "true")
        expect(error).to_be_visible()


def test_a_button_stays_while_its_drawing_changes(app: App) -> None:
    drawing: dict[str, Any] = {"id": "one", "state": "drawing", "pictures": [], "files": [], "looks": 0, "error": None}
    drawing |= {"order": {"kind": "imagine", "prompt": "a dog", "number": 2, "seed": 0}}
    with app.page("/playground") as page:

        def tell(route: Route) -> None:
            drawing["change"] = drawing.get("change", 0) + 1
            route.fulfill(content_type="text/event-stream", body=f"retry: 50\ndata: {json.dumps([drawing])}\n\n")

        page.route("**/api/drawings/events", tell)
        page.reload()
        button = page.locator("#one").get_by_role("button", name="cancel").element_handle()
        for _ in range(2):
            with page.expect_response("**/api/drawings/events"):
                pass
        assert button.evaluate("button => button.isConnected")
        drawing["state"] = "cancelled"
        expect(page.locator("#one small", has_text="cancelled")).to_be_visible()
        expect(page.locator("#one").get_by_role("button", name="cancel")).to_have_count(0)


def stroke(page: Page, start: float = 0.2, height: float = 0.5) -> None:
    """Paint a line to the right on the mask; start, height: shares of its side, outside of 0 to 1 beside it."""
    page.locator("#mask").scroll_into_view_if_needed()
    box = page.locator("#mask").bounding_box()
    assert box
    y = box["y"] + height * box["height"]
    page.mouse.move(box["x"] + start * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], y, steps=8)
    page.mouse.up()


def test_a_stroke_of_the_mask_may_begin_outside(app: App) -> None:
    painted = "mask => mask.getContext('2d').getImageData(Math.round(mask.width / 2), Math.round(mask.height / 2), 1, 1).data[3]"
    with app.page("/playground") as page:
        page.locator(".tabs label", has_text=re.compile("^Edit$")).click()
        page.set_input_files("#file", artifacts.images("fox") / "0.png")
        expect(page.locator("#brush")).to_be_visible()
        stroke(page, start=-0.04, height=0.1)
        stroke(page, start=-0.04, height=0.9)
        assert page.locator("#mask").evaluate(painted) == 0, "no line joins the two strokes"
        stroke(page, start=-0.04)
        assert page.locator("#mask").evaluate(painted) == 255


def test_the_form_of_the_playground_takes_what_is_put_into_it(app: App) -> None:
    """A drawing is called up and the form is switched, whatever a hidden field holds; the completion forgives a cursor that has left the word."""
    with app.page("/playground") as page:
        page.locator("#prompt").press_sequentially("<f")
        for key in ("Home", "Enter"):
            page.keyboard.press(key)
        expect(page.locator("#options li")).to_have_count(0)
        expect(page.locator("#prompt")).to_have_value("<f")
        ask_to_draw(page, "a cup", number=1, seed=20)
        page.locator(".drawing", has_text="a cup").get_by_role("button", name="use again").click()
        expect(page.locator("[name=concept]")).to_have_value("fox")
        page.fill("[name=candidates]", "0")
        page.locator(".tabs label", has_text="Reimagine").click()
        page.get_by_role("button", name="Draw", exact=True).click()
        expect(page.locator("#said")).to_have_text("choose a picture first")


def test_a_picture_is_changed_inside_the_mask_alone_and_imagined_again(app: App) -> None:
    picture = artifacts.images("fox") / "0.png"
    with app.page("/playground") as page:
        page.locator(".tabs label", has_text=re.compile("^Edit$")).click()
        ask_to_draw(page, "a photo of a <fox>", number=1)
        expect(page.locator("#said")).to_have_text("choose a picture first")
        page.locator("#said").click()  # as one who copies it
        expect(page.locator("#said")).to_have_text("choose a picture first")
        page.set_input_files("#file", picture)
        expect(page.locator("#brush")).to_be_visible()
        ask_to_draw(page, "a photo of a <fox>", number=1)
        expect(page.locator("#said")).to_have_text("paint where the picture is to change")
        page.mouse.click(5, 5)
        expect(page.locator("#said")).to_be_empty()
        stroke(page)
        ask_to_draw(page, "a photo of a <fox>", number=1, seed=3)
        image = page.locator(".drawing", has_text="edited, seed 3").locator("img")
        expect(image).to_be_visible()
        answer = page.request.get(f"{app.address}{image.get_attribute('src')}")
        changed = np.asarray(Image.open(BytesIO(answer.body()))) != np.asarray(Image.open(artifacts.curated("fox") / "0.png"))
        assert changed[7:9].any() and not changed[:5].any() and not changed[-5:].any(), "16 px high, with a stroke through the middle"
        page.locator(".tabs label", has_text="Reimagine").click()
        page.select_option("[name=concept]", "fox")
        ask_to_draw(page, "a painting of a <fox>")
        again = page.locator(".drawing", has_text="reimagined from fox")
        expect(again.locator("img")).to_have_count(4)
        expect(again).to_contain_text("psnr")


def test_a_page_follows_only_while_it_is_seen(app: App) -> None:
    """A browser has six connections to an app, so six pages in the background would leave none."""
    record = "window.sources = []; window.EventSource = class extends EventSource { constructor(from) { super(from); sources.push(this); } };"
    seen = "hidden => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true}); document.dispatchEvent(new Event('%s')); }"
    with app.page("/build") as page:
        page.add_init_script(record)
        page.reload()
        expect(page.locator("#headline")).not_to_be_empty()
        for event, hidden, following in [("visibilitychange", True, 0), ("visibilitychange", False, 1)]:
            page.evaluate(seen % event, hidden)
            assert page.evaluate("sources.filter(source => source.readyState !== EventSource.CLOSED).length") == following
        for event, following in [("pagehide", 0), ("pageshow", 1)]:
            page.evaluate("name => { dispatchEvent(new PageTransitionEvent(name, {persisted: true})); }", event)
            assert page.evaluate("sources.filter(source => source.readyState !== EventSource.CLOSED).length") == following, event


def test_the_focus_stays_on_a_drawing_that_is_drawn(app: App) -> None:
    with app.page("/playground") as page:
        ask_to_draw(page, "a hat", number=64, num_inference_steps=500, seed=0)
        expect(page.get_by_role("button", name="Draw", exact=True)).to_be_focused()
        drawing = page.locator(".drawing", has_text="a hat")
        again, cancel = (drawing.get_by_role("button", name=name) for name in ("use again", "cancel"))
        again.focus()
        expect(drawing.locator("img").first).to_be_visible()
        expect(again).to_be_focused()
        cancel.focus()
        page.keyboard.press("Enter")
        expect(drawing.locator("small", has_text="cancelled")).to_be_visible()
        expect(again).to_be_focused()


def test_the_focus_stays_on_a_build_that_is_followed(app: App) -> None:
    build: dict[str, Any] = {"running": False, "starting": False, "begun": None, "ended": None, "log": "", "previews": {}}
    build |= {"concepts": {"fox": {"state": "waiting"}}}
    stale: dict[str, Any] = {"fox": {}}
    asked: list[Route] = []

    def change(route: Route) -> None:
        asked.append(route)
        if route.request.method == "POST":
            build["running"] = True
        else:
            build.update(running=False, ended="2026-01-01T00:00:00")
            stale.clear()

    def answer() -> None:  # after the page has heard of it by an event
        asked.pop().fulfill(json={"said": "so be it"})

    with app.page("/build") as page:
        page.route("**/api/build/events", lambda to: to.fulfill(content_type="text/event-stream", body=f"retry: 50\ndata: {json.dumps(build)}\n\n"))
        page.route("**/api/stale", lambda to: to.fulfill(json=stale))
        page.route("**/api/build", change)
        page.reload()
        link, start = page.locator("#rows a"), page.get_by_role("button", name="Build what is stale")
        link.focus()
        for _ in range(3):
            with page.expect_response("**/api/build/events"):
                pass
        expect(link).to_be_focused()
        start.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Stop")).to_be_focused()
        answer()
        page.keyboard.press("Enter")
        expect(page.locator("#stale")).to_contain_text("Every concept is up to date.")
        expect(page.locator("#headline")).to_be_focused()
        answer()
        expect(page.locator("#said")).to_contain_text("so be it")
        expect(page.locator("#headline")).to_be_focused()


def test_a_killed_build_is_told_and_the_next_one_goes_on(app: App) -> None:
    draw_picture(artifacts.images("fox") / "3.png", 77)
    edit_params(invert={"seed": 1, "max_train_steps": 200})
    with app.page("/build") as page:
        expect(page.locator("#stale")).to_contain_text("fox")
        page.get_by_role("button", name="Build what is stale").click()
        expect(page.locator("#rows progress[value]").first).to_be_visible()
        building = running_build()
        assert building, "a build holds the catalog and has written its process's number"
        os.killpg(building, signal.SIGKILL)
        expect(page.locator("#headline")).to_contain_text("The last build was interrupted")
        page.goto("about:blank")  # a page whose app is gone says so in its console
        app.process.kill()
        app.process.wait()
        app.start()
        page.goto(f"{app.address}/build")
        expect(page.locator("#headline")).to_contain_text("The last build was interrupted")
        expect(page.get_by_role("button", name="Build what is stale")).to_be_enabled()
    command, env = [sys.executable, "-m", "flows.cli.main", "build"], {**os.environ, "PYTHONPATH": str(ROOT)}
    with app.page("/concepts/ink", 400) as other, app.page("/build", 400) as page, started(command, app.logs / "build.log", env=env) as build:
        expect(page.locator("#headline")).to_contain_text("A build is running")
        other.get_by_role("button", name="Build", exact=True).click()
        expect(other.locator("#said")).to_contain_text("a build of this catalog is running; wait until it has ended")
        expect(page.get_by_role("button", name="Build what is stale")).to_be_disabled()
        expect(page.locator("#headline")).to_contain_text("The last build ended")
        for concept in ("fox", "ink", "mug"):
            expect(page.locator("#rows tr", has_text=concept)).to_contain_text("built")
        assert build.wait() == 0, (app.logs / "build.log").read_text(encoding="utf-8")
    assert artifacts.read_json(artifacts.registered("fox"))["version"] == 2


def decide(page: Page, action: str, why: str = "") -> None:
    """Press a button of a concept's page and answer its dialog."""
    page.get_by_role("button", name=f"{action}…", exact=True).first.click()
    dialog = page.locator("#reason")
    expect(dialog).to_be_visible()
    dialog.locator("#reason-why").fill(why)
    dialog.locator("[value=yes]").click()


def test_versions_are_promoted_rolled_back_revoked_and_reinstated(app: App) -> None:
    with app.page("/concepts/fox", 400) as page:
        champion = page.locator("tr", has_text="champion")
        expect(champion).to_contain_text("v1")
        decide(page, "Promote the challenger")
        expect(page.locator("#said")).to_contain_text("other pictures")
        decide(page, "Promote the challenger", EVIL)
        expect(page.locator("#said")).to_contain_text("v2 is champion")
        expect(champion).to_contain_text("v2")
        expect(page.locator(".timeline")).to_contain_text(EVIL)
        decide(page, "Roll back")
        expect(page.locator("#said")).to_contain_text("v1 is champion again")
        expect(champion).to_contain_text("v1")
        decide(page, "Revoke")
        expect(page.locator("#reason")).to_be_visible()
        assert page.locator("#reason-why").evaluate("field => field.validity.valueMissing")
        page.locator("#reason-why").fill(EVIL)
        page.keyboard.press("Escape")
        expect(page.locator("#reason")).to_be_hidden()
        expect(champion).to_contain_text("v1")
        decide(page, "Revoke", EVIL)
        expect(page.locator(".notice")).to_contain_text(f"Revoked: {EVIL}")
        expect(champion).to_have_count(0)
        page.goto(app.address)
        expect(page.locator(".card[data-key=fox] .state")).to_have_attribute("title", EVIL)
        page.goto(f"{app.address}/concepts/fox")
        decide(page, "Reinstate", "it was a mistake")
        expect(champion).to_contain_text("v1")
        expect(page.locator(".notice")).to_have_count(0)


def test_versions_are_compared_traced_and_exported(app: App) -> None:
    with app.page("/concepts/fox") as page:
        page.get_by_role("button", name="lineage").first.click()
        expect(page.locator("#lineage")).to_be_visible()
        expect(page.locator("#lineage-title")).to_have_text("fox v2")
        assert page.locator("#lineage-links p").count() > 2
        page.get_by_role("button", name="Close").click()
        for style in ("diffusers", "sd-concepts-library"):
            with page.expect_download() as download:
                page.locator(f"[data-export={style}]").click()
            assert download.value.path().stat().st_size > 0 and download.value.suggested_filename
        page.get_by_role("link", name="compare with v1").click()
        page.wait_for_url("**/compare?*")
        expect(page.locator("img").first).to_be_visible()
        assert page.evaluate("getComputedStyle(document.body).maxWidth") != "none", "the comparison has its style"


def test_a_read_only_app_shows_and_changes_nothing(app: App) -> None:
    before = artifacts.registered("fox").read_bytes()
    with running_app(app.logs / "read-only.log", "--read-only") as (_, address), opened(app.chromium, [403]) as page:
        for path in ("/", "/concepts/fox", "/build", "/people"):
            page.goto(address + path)
            expect(page.locator("h1")).to_be_visible()
            for button in page.locator("[data-writes]").all():
                expect(button).to_be_hidden()
        expect(page.locator("nav")).to_have_text(re.compile(r"^\s*Gallery\s+Build\s+People\s*$"))
        page.goto(f"{address}/add")
        page.set_input_files("#files", file("1.png", drawn(1)))
        expect(page.locator("#refused")).to_contain_text("this app only shows the catalog; start `wordmint ui` without --read-only to change it")
        answer = page.request.post(f"{address}/api/concepts/fox/revoke", data={"why": "no"})
        assert answer.status == 403 and "--read-only" in answer.json()["error"]
    assert artifacts.registered("fox").read_bytes() == before


PATHS = ("/", "/concepts/fox", "/concepts/fox/compare?one=1&two=2", "/concepts/mug", "/add", "/build", "/people", "/playground", "/concepts/nobody")


def come_up(page: Page) -> None:
    """Wait until a page shows what its script asks for."""
    for selector, shown in {"#cards .state": "#cards .state:not(:empty)", "#headline": "#headline:not(:empty)", "#drawings": ".drawing"}.items():
        if page.locator(selector).count():
            expect(page.locator(shown).first).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_fits_and_everyone_can_use_it(app: App, width: int, scheme: Any) -> None:
    size = PHONE if width == 390 else {"viewport": {"width": width, "height": 900}}
    wrong = []
    with app.page("/", 404, color_scheme=scheme, reduced_motion="reduce", **size) as page:
        for path in PATHS:
            page.goto(app.address + path)
            come_up(page)
            wrong += serious_faults(page)
            if (wide := page.evaluate("document.documentElement.scrollWidth")) > width:
                wrong.append(f"{path} is {wide} px wide")
            assert page.locator("img[src=x]").count() == 0, path
        page.goto(f"{app.address}/concepts/fox")
        page.get_by_role("button", name="Revoke…").click()
        wrong += serious_faults(page)
        page.keyboard.press("Escape")
        page.get_by_role("button", name="lineage").first.click()
        expect(page.locator("#lineage")).to_be_visible()
        wrong += serious_faults(page)
        page.goto(f"{app.address}/add")
        judged(page, lambda: page.set_input_files("#files", [file("0.png", drawn(60)), file("same.png", drawn(60))]))
        expect(page.locator("#sheet .error-text")).to_be_visible()
        wrong += serious_faults(page)
        page.goto(f"{app.address}/playground")
        page.locator(".tabs label", has_text=re.compile("^Edit$")).click()
        page.set_input_files("#file", artifacts.images("fox") / "0.png")
        expect(page.locator("#brush")).to_be_visible()
        page.locator("#prompt").press_sequentially("a <")
        expect(page.locator("#options li").first).to_be_visible()
        wrong += serious_faults(page)
        page.goto((artifacts.REPORT / "index.html").absolute().as_uri())
        wrong += serious_faults(page)
    assert not wrong, "\n".join(wrong)
