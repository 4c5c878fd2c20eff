"""Asking people in the app: the same page, the same checks and the same numbers as the commands have."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, FilePayload, Page, expect
from starlette.testclient import TestClient

from flows.ui import concept
from flows.ui.app import make_app
from flows.ui.guard import WRITE, Access
from tasks import artifacts
from tasks.people.questionnaire import page_path
from tasks.registry import reading
from tasks.settings import Settings
from tests.support.app import running_app
from tests.support.browser import PHONE, needs_chromium, opened, serious_faults
from tests.support.people import TASTE, answer, fill_in

pytestmark = pytest.mark.slow
EVIL = "<img src=x onerror=alert(1)>.json"
NEW = {"concepts": ["fox"], "items": 2, "checks": 1, "seed": 0}


def client(read_only: bool = False) -> TestClient:
    access = Access(read_only=read_only)
    return TestClient(make_app(access, ThreadPoolExecutor(1)), base_url="http://127.0.0.1", headers={WRITE: access.write_token})


@pytest.fixture
def browser(asked: Settings) -> TestClient:
    return client()


@pytest.fixture
def record(browser: TestClient) -> dict[str, Any]:
    return artifacts.read_json(artifacts.questionnaire(browser.post("/api/questionnaires", json=NEW).json()["id"]))


def sent(*files: Path, replace: bool = False) -> dict[str, Any]:
    return {"files": [{"name": path.name, "text": path.read_text()} for path in files], "replace": replace}


def test_the_page_says_what_can_be_asked(browser: TestClient) -> None:
    page = browser.get("/people").text
    assert 'value="fox"' in page and 'value="owl"' not in page
    assert "No answers are kept yet" in browser.get("/people/opinions").text
    unknown = browser.post("/api/questionnaires", json=NEW | {"concepts": ["nobody"]})
    assert unknown.status_code == 400 and "nobody" in unknown.json()["error"]
    assert browser.post("/api/questionnaires", json=NEW | {"items": 0}).status_code == 422


def test_answers_are_checked_and_counted_as_the_command_does(browser: TestClient, record: dict[str, Any]) -> None:
    files = [answer(record, code) for code in ("a", "b", "c")]
    assert browser.post("/api/answers", json=sent(*files)).json()["said"] == "3 new"
    assert browser.post("/api/answers", json=sent(*files)).json()["said"].startswith("nothing new")
    assert reading.tags("fox", 2)["raters"] == "3"
    told = browser.get("/people/opinions").text
    with concept.ONE_AT_A_TIME:  # a decision at work holds up no reader
        assert browser.get("/people/opinions").text == told
    assert "fox</a>, 3 raters" in told and "coarse word: teddy" in told
    assert f"{float(reading.tags('fox', 2)['human_fidelity']):.3f}" in told
    other = answer(record, "a", TASTE[::-1])
    refused = browser.post("/api/answers", json=sent(other))
    assert refused.status_code == 400 and refused.json()["error"].startswith(f"{other.name} differs from what code 'a' answered")
    assert browser.post("/api/answers", json=sent(other, replace=True)).json()["said"] == "1 new"
    assert "Rater a does not count: 2 of 2 attention checks failed" in browser.get("/people/opinions").text


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"answers": [[0, 0, 0, 0]] * 6}, "is no order of its 4 pictures"),
        ({"answers": []}, "has 0 answers, its questionnaire has 6 items"),
        ({"questionnaire": "0" * 16}, "data/questionnaires/0000000000000000.json is not here"),
        ({"questionnaire": "../../x"}, "is not a file that a questionnaire saved"),
        ({"code": "<b>\n"}, "is not a file that a questionnaire saved"),
        ({"name": "me"}, "is not a file that a questionnaire saved"),
    ],
)
def test_a_tampered_file_is_refused_by_its_name(browser: TestClient, record: dict[str, Any], changed: dict[str, Any], complaint: str) -> None:
    good = answer(record, "good")
    text = json.dumps(json.loads(good.read_text()) | changed)
    files = {"files": [*sent(good)["files"], {"name": EVIL, "text": text}], "replace": False}
    refused = browser.post("/api/answers", json=files)
    assert refused.status_code == 400 and refused.json()["error"].startswith(EVIL) and complaint in refused.json()["error"]
    assert not list(artifacts.answers("fox").glob("*")), "either all are kept or none"


def test_a_page_runs_the_apps_script_alone(browser: TestClient, record: dict[str, Any]) -> None:
    path = page_path(record["id"])
    written = path.read_text()
    path.write_text(written.replace("</body>", "<script>steal()</script></body>"))
    answer = browser.get(f"/questionnaires/{record['id']}")
    assert answer.status_code == 200 and "steal" not in answer.text
    allowed = answer.headers["content-security-policy"]
    assert re.search(r"script-src 'sha256-[\w+/=]+';", allowed) and "unsafe" not in allowed
    assert browser.get(f"/questionnaires/{record['id']}/file").headers["content-disposition"].startswith("attachment")
    path.write_text(written.replace("data:image/webp;base64,", "data:image/webp;base64,AAAA", 1))
    assert "it was changed" in browser.get(f"/questionnaires/{record['id']}").text
    assert browser.get("/questionnaires/0123456789abcdef").status_code == 404


def test_a_read_only_app_keeps_no_answers(browser: TestClient, record: dict[str, Any]) -> None:
    spectator = client(read_only=True)
    assert '<meta name="write-token"' not in spectator.get(f"/questionnaires/{record['id']}").text
    assert spectator.post("/api/answers", json=sent(answer(record, "a"))).status_code == 403
    assert spectator.post("/api/questionnaires", json=NEW).status_code == 403
    assert not artifacts.answers("fox").exists()


def payload(name: str, text: str) -> FilePayload:
    return {"name": name, "mimeType": "application/json", "buffer": text.encode()}


def send_files(page: Page, *files: FilePayload) -> None:
    with page.expect_response(lambda answer: answer.url.endswith("/api/answers")):
        page.set_input_files("#files", list(files))


@pytest.mark.browser
@needs_chromium
def test_a_person_answers_in_the_app_and_sees_what_people_say(asked: Settings, chromium: Browser, tmp_path: Path) -> None:
    with running_app(tmp_path / "app.log") as (_, address), opened(chromium, [400], **PHONE) as page:
        page.goto(f"{address}/people")
        expect(page.locator("#opinions")).to_have_text("No answers are kept yet.")
        expect(page.get_by_text("cannot be asked about: it has no version yet").first).to_be_visible()
        page.get_by_label("fox").check()
        page.get_by_role("button", name="Write it").click()
        page.get_by_role("link", name="Answer it here").click()
        page.fill("#code", "<i>42")
        key = page.url.rsplit("/", 1)[1]
        record = artifacts.read_json(artifacts.questionnaire(key))
        faults = serious_faults(page)
        fill_in(page, record, look=True)
        faults += serious_faults(page)
        page.get_by_role("button", name="Send the answers").tap()
        expect(page.locator("#screen")).to_contain_text("The catalog has them.")
        expect(page.get_by_role("button", name="Undo")).to_be_hidden()
        page.reload()
        expect(page.locator("#screen")).to_contain_text("The catalog has them.")
        page.get_by_role("button", name="Another person answers").tap()
        fill_in(page, record, look=False)
        page.get_by_role("button", name="Send the answers").tap()
        expect(page.locator("#screen")).to_contain_text("The catalog has them.")
        faults += serious_faults(page)
        page.get_by_role("link", name="What people say").tap()
        expect(page.locator("#opinions")).to_contain_text("fox, 1 rater")
        expect(page.locator("#opinions .notice")).to_contain_text("does not count")
        other = answer(record, "<i>42", TASTE[::-1], tmp_path).read_text()
        send_files(page, payload(EVIL, other.replace('"code"', '"c"')))
        expect(page.locator("#refused")).to_contain_text(f"{EVIL} is not a file that a questionnaire saved")
        send_files(page, payload(EVIL, other))
        expect(page.locator("#refused")).to_contain_text(f"{EVIL} differs from what code '<i>42' answered")
        page.get_by_label("replace earlier ones").check()
        send_files(page, payload(EVIL, other))
        expect(page.locator("#opinions .notice", has_text="<i>42")).to_contain_text("does not count")
        faults += serious_faults(page)
        assert not faults, "\n".join(faults)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.browser
@needs_chromium
def test_a_spectators_questionnaire_ends_in_a_file(browser: TestClient, record: dict[str, Any], chromium: Browser, tmp_path: Path) -> None:
    with running_app(tmp_path / "app.log", "--read-only") as (_, address), opened(chromium, **PHONE) as page:
        page.goto(f"{address}/people")
        expect(page.locator("#new")).to_be_hidden()
        page.get_by_role("link", name="Look at it").click()
        fill_in(page, record, look=True)
        with page.expect_download() as download:
            page.tap("#next")
        assert json.loads(download.value.path().read_text())["questionnaire"] == record["id"]
