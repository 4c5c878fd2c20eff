"""The page in a real browser: two people fill it in on a phone, one with taps and keys, one without looking."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from typer.testing import CliRunner

from flows.cli.main import app
from tasks import artifacts
from tasks.people.questionnaire import Written, write_questionnaire
from tasks.settings import Settings
from tests.support.browser import PHONE, needs_chromium
from tests.support.people import TASTE, fill_in, order, press, shown_item, tap

pytestmark = [pytest.mark.browser, needs_chromium]


@pytest.fixture
def written(asked: Settings) -> Written:
    return write_questionnaire([], asked, 2, 2, 0, None)


@pytest.fixture
def page(chromium: Browser, written: Written) -> Iterator[Page]:
    """The questionnaire on a phone."""
    with chromium.new_context(**PHONE) as phone:
        page = phone.new_page()
        page.goto(written.page.absolute().as_uri())
        yield page


def saved(page: Page, path: Path) -> Path:
    with page.expect_download() as download:
        page.tap("#next")
    download.value.save_as(path)
    return path


def test_two_people_fill_it_in_and_the_careless_one_is_dropped(written: Written, page: Page, tmp_path: Path) -> None:
    record = artifacts.read_json(written.record)
    page.fill("#code", "42")
    fill_in(page, record, look=True)
    careful = saved(page, tmp_path / "careful.json")
    page.once("dialog", lambda dialog: dialog.accept())
    tap(page, page.locator("main .button"))
    assert "Put pictures in order" in page.inner_text("body")
    fill_in(page, record, look=False)
    careless = saved(page, tmp_path / "careless.json")
    filled = json.loads(careful.read_text())
    assert filled.keys() == {"questionnaire", "code", "answers"} and filled["code"] == "42"
    assert len(filled["answers"]) == len(record["items"])
    code = json.loads(careless.read_text())["code"]
    assert len(code) == 8
    result = CliRunner().invoke(app, ["answers", str(careful), str(careless), "--json"])
    assert result.exit_code == 0, result.output
    facts = json.loads(result.output)
    assert [row["code"] for row in facts["dropped"]] == [code]
    assert facts["concepts"]["fox"]["raters"] == 1
    fidelity = {name: scores["human_fidelity"]["value"] for name, scores in facts["concepts"]["fox"]["candidates"].items()}
    assert sorted(fidelity, key=lambda name: -fidelity[name]) == [name for name in TASTE if name in fidelity]


def test_a_reload_in_the_middle_loses_nothing(page: Page) -> None:
    code = page.evaluate("state.code")
    press(page, "Enter", "Enter", "2", "1", "3", "Enter", "4")
    screen = "[state, document.getElementById('screen').innerHTML, document.getElementById('count').innerText]"
    before = page.evaluate(screen)
    page.reload()
    assert page.evaluate(screen) == before
    assert (page.evaluate("state.code"), shown_item(page), order(page)) == (code, 1, [3])
    assert page.evaluate("state.orders[0]") == [1, 0, 2, 3]


def test_undo_takes_back_one_choice_after_the_other(page: Page) -> None:
    press(page, "Enter", "Enter", "2", "4", "1")
    assert order(page) == [1, 3, 0, 2]
    press(page, "Backspace")
    assert order(page) == [1, 3]
    tap(page, page.locator(".choice").nth(1))
    assert order(page) == [3]
    assert page.locator("#next").is_disabled(), "an item is done when every picture has a place"
    press(page, "9")
    assert order(page) == [3]
    tap(page, page.locator("#undo"))
    assert order(page) == []
    tap(page, page.locator("#undo"))
    assert "Part 1 of 2" in page.inner_text("body")


def test_everything_of_an_item_fits_on_a_phone_and_has_a_name(page: Page) -> None:
    press(page, "Enter", "Enter")
    assert page.evaluate("document.documentElement.scrollHeight <= innerHeight && document.documentElement.scrollWidth <= innerWidth")
    press(page, "2")
    names = page.evaluate("[...document.querySelectorAll('.choice')].map((choice) => choice.getAttribute('aria-label'))")
    assert names == ["Picture 1", "Picture 2, place 1", "Picture 3", "Picture 4"]
