"""Starting the app, and the app as a process in a real browser: a password for other machines, and a catalog in a folder with a hostile name."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, expect

from flows.ui import serving
from flows.ui.client import RUNNING, App
from flows.ui.guard import Access
from tasks import artifacts
from tasks.settings import Settings
from tests.support.app import running_app
from tests.support.browser import needs_chromium, opened
from tests.support.catalogs import make_catalog

FOLDER = "<b>x<img src=x onerror=alert(1)> {{7*7}} & ünïcode"
PASSWORD = "long & enough/ü"


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory, tiny_base_folder: Path, tiny_scorer_folder: Path) -> Iterator[Path]:
    """A catalog that was never built, in a folder whose name is markup."""
    folder, previous = tmp_path_factory.mktemp("odd") / FOLDER, Path.cwd()
    folder.mkdir()
    os.chdir(folder)
    make_catalog(tiny_base_folder, tiny_scorer_folder)
    yield folder
    os.chdir(previous)


@pytest.mark.parametrize(
    ("host", "here", "elsewhere"),
    [
        ("127.0.0.1", "http://127.0.0.1:8017", "http://127.0.0.1:8017"),
        ("::1", "http://[::1]:8017", "http://[::1]:8017"),
        ("0.0.0.0", "http://127.0.0.1:8017", "http://studio:8017"),
        ("::", "http://[::1]:8017", "http://studio:8017"),
        ("studio.local", "http://studio.local:8017", "http://studio.local:8017"),
    ],
)
def test_the_address_is_one_that_a_browser_can_open(monkeypatch: pytest.MonkeyPatch, host: str, here: str, elsewhere: str) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "studio")
    assert serving.addresses(host, 8017) == (here, elsewhere)


def test_the_commands_find_the_first_app_that_may_draw(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []

    def run(server: object, sockets: list[socket.socket]) -> None:
        found.append(RUNNING.exists() and artifacts.read_json(RUNNING)["pid"])
        sockets[0].close()

    def serve(read_only: bool = False) -> None:
        serving.serve(Access(read_only=read_only), 0, False, lambda address: None)

    monkeypatch.setattr(uvicorn.Server, "run", run)
    monkeypatch.setattr(serving, "load_settings", lambda: settings)
    monkeypatch.setattr(serving, "warm", lambda: None)
    serve()
    serve(read_only=True)
    assert found == [os.getpid(), False] and not RUNNING.exists()
    artifacts.write_json(RUNNING, {"pid": 1})
    monkeypatch.setattr(serving, "app_of_this_catalog", lambda: App("http://127.0.0.1:9", "", "", 1))
    serve()
    assert found[2] == 1 and artifacts.read_json(RUNNING) == {"pid": 1}


@pytest.mark.browser
@needs_chromium
def test_a_password_opens_the_app_and_stays_in_a_cookie(odd: Path, chromium: Browser, tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    with running_app(log, "--token", PASSWORD) as (_, address):
        printed = log.read_text(encoding="utf-8").split("the catalog is at ")[1].split(";")[0]
        with opened(chromium, [401]) as page:
            for path in ("/", "/people", "/api/app", "/static/app.js", "/?token=wrong"):
                answer = page.goto(address + path)
                assert answer and answer.status == 401, path
            expect(page.locator("body")).to_contain_text("open the address that `wordmint ui` printed; it ends in ?token=")
            page.goto(printed)
            expect(page).to_have_url(f"{address}/")
            expect(page.locator("h1")).to_have_text("2 words")
            assert PASSWORD not in page.content() and page.evaluate("document.cookie") == "", "no script reads the password"
            page.get_by_role("link", name="Build").click()
            expect(page.locator("#stale")).to_contain_text("fox")
        with opened(chromium, [401]) as page:
            answer = page.goto(address)
            assert answer and answer.status == 401, "another browser has no cookie"


@pytest.mark.browser
@needs_chromium
def test_a_folders_name_is_text_and_the_catalog_in_it_works(odd: Path, chromium: Browser, tmp_path: Path) -> None:
    with running_app(tmp_path / "app.log") as (_, address), opened(chromium) as page:
        page.goto(f"{address}/build")
        page.get_by_role("button", name="Build what is stale").click()
        for concept in ("fox", "ink"):
            expect(page.locator("#rows tr", has_text=concept)).to_contain_text("built")
        expect(page.locator("#headline")).to_contain_text("The last build ended")
        for path in ("/", "/concepts/fox", "/playground", "/add", "/build", "/people", "/concepts/nobody"):
            answer = page.request.get(address + path)
            assert FOLDER not in answer.text(), path
            if answer.ok:
                page.goto(address + path)
                expect(page.locator(".catalog")).to_have_text(FOLDER)
                assert page.title().endswith(f" · {FOLDER}")
                assert page.locator("b:has(img), img[src=x]").count() == 0
        page.goto(f"{address}/concepts/fox")
        expect(page.locator("tr", has_text="champion")).to_contain_text("v1")
        for image in (".thumbs img", ".samples img"):
            assert page.evaluate("async image => (await image.decode(), image.naturalWidth)", page.locator(image).first.element_handle()) > 0
        with page.expect_download() as download:
            page.locator("[data-export=diffusers]").click()
        assert download.value.path().stat().st_size > 0
        page.get_by_role("link", name="Draw with it").click()
        page.fill("[name=num_inference_steps]", "2")
        page.fill("[name=number]", "1")
        page.get_by_role("button", name="Draw", exact=True).click()
        expect(page.locator(".drawing img")).to_have_count(1)
        page.goto(f"{address}/people")
        page.get_by_role("button", name="Write it").click()
        expect(page.get_by_role("link", name="Answer it here")).to_be_visible()
    assert artifacts.read_json(artifacts.registered("fox"))["version"] == 1
