"""The app as a process in a real browser: a password for other machines, and a catalog in a folder with a hostile name."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tasks import artifacts
from tests.support.app import running_app
from tests.support.browser import needs_chromium, opened
from tests.support.catalogs import make_catalog

pytestmark = [pytest.mark.browser, needs_chromium]
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
