"""The page in a real browser: two people fill it in on a phone, one with taps and keys, one without looking."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from tasks import artifacts
from tasks.people.questionnaire import Written, write_questionnaire
from tasks.settings import Settings
from tests.support.browser import Browser, browser, needs_chromium, wait_until
from tests.support.people import TASTE

pytestmark = [pytest.mark.slow, needs_chromium]


@pytest.fixture
def written(asked: Settings) -> Written:
    return write_questionnaire([], asked, 2, 2, 0, None)


def shown_item(page: Browser) -> int | None:
    return page.run("steps[state.at].number ?? null")


def order(page: Browser) -> list[int]:
    return page.run(f"state.orders[{shown_item(page)}]")


def fill_in(page: Browser, record: dict[str, Any], look: bool) -> None:
    """Go to the end. One who looks taps in the order of TASTE, one who does not presses 1, 2, 3."""
    while "Done, thank you" not in page.text():
        number = shown_item(page)
        if number is not None:
            names = record["items"][number]["candidates"]
            places = sorted(range(len(names)), key=lambda place: TASTE.index(names[place])) if look else list(range(len(names)))
            for place in places[:-1]:
                page.tap(".choice", place) if look else page.press(str(place + 1))
            assert order(page) == places
        page.tap("#next") if look else page.press("Enter")


def save(page: Browser, folder: Path) -> Path:
    folder.mkdir()
    page.save_to(folder)
    page.tap("#next")
    return wait_until(lambda: next(folder.glob("*.json"), None))


def test_two_people_fill_it_in_and_the_careless_one_is_dropped(written: Written, tmp_path: Path) -> None:
    record = artifacts.read_json(written.record)
    (tmp_path / "profile").mkdir()
    with browser(tmp_path / "profile") as page:
        page.open(written.page)
        page.run("document.getElementById('code').select()")
        page.tap("#code")
        page.run("document.getElementById('code').value = ''")
        for key in "42":
            page.press(key)
        fill_in(page, record, look=True)
        careful = save(page, tmp_path / "careful")
        page.run("window.confirm = () => true")
        page.tap("main .button")
        assert "Put pictures in order" in page.text()
        fill_in(page, record, look=False)
        careless = save(page, tmp_path / "careless")
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


def test_a_reload_in_the_middle_loses_nothing(written: Written, tmp_path: Path) -> None:
    (tmp_path / "profile").mkdir()
    with browser(tmp_path / "profile") as page:
        page.open(written.page)
        code = page.run("state.code")
        for key in ("Enter", "Enter", "2", "1", "3", "Enter", "4"):
            page.press(key)
        screen = "[state, document.getElementById('screen').innerHTML, document.getElementById('count').innerText]"
        before = page.run(screen)
        page.reload()
        assert page.run(screen) == before
        assert (page.run("state.code"), shown_item(page), order(page)) == (code, 1, [3])
        assert page.run("state.orders[0]") == [1, 0, 2, 3]


def test_undo_takes_back_one_choice_after_the_other(written: Written, tmp_path: Path) -> None:
    (tmp_path / "profile").mkdir()
    with browser(tmp_path / "profile") as page:
        page.open(written.page)
        for key in ("Enter", "Enter", "2", "4", "1"):
            page.press(key)
        assert order(page) == [1, 3, 0, 2]
        page.press("Backspace")
        assert order(page) == [1, 3]
        page.tap(".choice", 1)
        assert order(page) == [3]
        page.tap("#next")
        assert shown_item(page) == 0, "an item is done when every picture has a place"
        page.press("9")
        assert order(page) == [3]
        page.tap("#undo")
        assert order(page) == []
        page.tap("#undo")
        assert "Part 1 of 2" in page.text()


def test_everything_of_an_item_fits_on_a_phone_and_has_a_name(written: Written, tmp_path: Path) -> None:
    (tmp_path / "profile").mkdir()
    with browser(tmp_path / "profile") as page:
        page.open(written.page)
        page.press("Enter")
        page.press("Enter")
        assert page.run("document.documentElement.scrollHeight <= innerHeight && document.documentElement.scrollWidth <= innerWidth")
        page.press("2")
        names = page.run("[...document.querySelectorAll('.choice')].map((choice) => choice.getAttribute('aria-label'))")
        assert names == ["Picture 1", "Picture 2, place 1", "Picture 3", "Picture 4"]
