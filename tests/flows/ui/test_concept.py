"""The page of a concept, and what it does to it."""

import io
import os
import re
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.testclient import TestClient

from flows.ui import concept
from flows.ui.app import make_app
from flows.ui.drawings import AT_ONCE
from flows.ui.guard import WRITE, Access
from tasks.pipeline import device
from tasks.pipeline.progress import tell
from tasks.register import register
from tasks.registry import reading, writing
from tasks.settings import Settings
from tests.support.minted import mint


@pytest.fixture
def browser(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """A client of a catalog whose fox has a champion and a better challenger."""
    for module in ("api", "concept", "pages", "pictures"):
        monkeypatch.setattr(f"flows.ui.{module}.load_settings", lambda: settings)
    monkeypatch.setattr("tasks.versions.records.load_settings", lambda: settings)
    monkeypatch.setattr("tasks.versions.records.keep_record", lambda key: None)
    for seed, reconstruction in ((1, 0.6), (2, 0.8)):
        mint(seed, reconstruction)
        register.fn("fox", settings)
    access = Access()
    return TestClient(make_app(access, ThreadPoolExecutor(1)), base_url="http://127.0.0.1", headers={WRITE: access.write_token})


def test_a_person_promotes_and_rolls_back(browser: TestClient) -> None:
    assert reading.aliases("fox") == {"challenger": 2, "champion": 1}
    said = browser.post("/api/concepts/fox/promote", json={}).json()["said"]
    assert said.startswith("v2 is champion: ")
    assert reading.aliases("fox") == {"champion": 2, "previous": 1}
    assert browser.post("/api/concepts/fox/rollback", json={"why": "the teeth"}).json()["said"] == "v1 is champion again, v2 is previous"
    page = browser.get("/concepts/fox").text
    assert "the teeth" in page and "rollback v1 against v2" in page
    assert browser.post("/api/concepts/fox/melt", json={}).status_code == 404
    assert browser.post("/api/concepts/cup/promote", json={}).status_code == 400


def test_the_gate_refuses_in_the_app_as_it_does_in_the_command(browser: TestClient) -> None:
    assert browser.post("/api/concepts/fox/promote", json={"version": 2}).status_code == 200
    refused = browser.post("/api/concepts/fox/promote", json={"version": 1})
    assert refused.status_code == 400 and "fox v1 is not promoted: v1 is worse than champion v2" in refused.json()["error"]


def test_a_revocation_needs_a_reason_and_is_undone(browser: TestClient) -> None:
    assert "needs a reason" in browser.post("/api/concepts/fox/revoke", json={"why": " "}).json()["error"]
    assert browser.post("/api/concepts/fox/revoke", json={"why": "<b>a licence</b>"}).status_code == 200
    assert reading.aliases("fox") == {}
    page = browser.get("/concepts/fox").text
    assert "&lt;b&gt;a licence&lt;/b&gt;" in page and "Reinstate" in page and "<b>a licence" not in page
    assert browser.post("/api/concepts/fox/reinstate", json={}).status_code == 200
    assert reading.aliases("fox") == {"challenger": 2, "champion": 1}


def test_a_scoring_holds_up_no_decision_and_no_second_one_waits(browser: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ended, kept = threading.Event(), threading.Event(), list[str]()

    def rescore(key: str, settings: Settings, version: int | None) -> dict[str, Any]:
        begun.set()
        assert ended.wait(30)
        return {"version": version, "scores": {"editability": {"value": 0.5}}}

    monkeypatch.setattr("tasks.versions.rescore.rescore", rescore)
    monkeypatch.setattr("tasks.versions.records.keep_record", kept.append)
    with ThreadPoolExecutor(1) as other:
        scoring = other.submit(browser.post, "/api/concepts/fox/rescore", json={"version": 1})
        assert begun.wait(30)
        assert browser.post("/api/concepts/fox/promote", json={}).status_code == 200 and kept == ["fox"]
        refused = browser.post("/api/concepts/fox/rescore", json={})
        assert refused.status_code == 400 and "is being scored" in refused.json()["error"]
        ended.set()
        assert scoring.result().json()["said"] == "v1: editability 0.500" and kept == ["fox", "fox"]


def test_a_scoring_gives_up_where_the_gpu_stays_busy(browser: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "gpu_name", lambda name: f"gpu-of-{os.getpid()}")
    monkeypatch.setattr(concept, "PATIENCE", 0)
    with device.device_lock("cuda"):
        refused = browser.post("/api/concepts/fox/rescore", json={})
    assert refused.status_code == 400 and "the device is busy" in refused.json()["error"]


def test_a_scoring_gives_up_when_the_app_ends(browser: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def rescore(key: str, settings: Settings, version: int | None) -> dict[str, Any]:
        assert settings.runtime.pictures_per_batch <= AT_ONCE
        tell(key, 1, 2)
        ends.append(True)
        tell(key, 2, 2)
        raise AssertionError("it went on")

    ends = list[bool]()
    browser.app.state.ends = lambda: bool(ends)  # type: ignore[attr-defined]
    monkeypatch.setattr("tasks.versions.rescore.rescore", rescore)
    refused = browser.post("/api/concepts/fox/rescore", json={})
    assert refused.status_code == 400 and refused.json()["error"] == "the app ended before this was scored"


def test_a_champion_is_exported(browser: TestClient) -> None:
    answer = browser.get("/api/concepts/fox/export/diffusers")
    assert (
        answer.headers["content-disposition"] == 'attachment; filename="learned_embeds.safetensors"' or "fox" in answer.headers["content-disposition"]
    )
    assert len(answer.content) > 100
    packed = browser.get("/api/concepts/fox/export/sd-concepts-library")
    assert "fox/" in " ".join(zipfile.ZipFile(io.BytesIO(packed.content)).namelist())
    assert browser.get("/api/concepts/fox/export/exe").status_code == 400


def test_a_version_may_lack_a_score_that_the_present_scores_have(browser: TestClient, settings: Settings) -> None:
    mint(3, 0.9, fidelity=0.7)
    register.fn("fox", settings)
    writing.set_tags("fox", 1, {"editability": None, "editability_low": None, "editability_high": None})  # as one from before the gate
    page = browser.get("/concepts/fox")
    assert page.status_code == 200
    shown = [re.findall(r'<td class="number">(?:<b>)?([^<]+)<', row) for row in re.findall(r"<tr><td>v\d.*?</tr>", page.text)]
    assert shown == [["0.900", "0.250", "0.700"], ["0.800", "0.250", "–"], ["0.600", "–", "–"]]
    compared = browser.get("/concepts/fox/compare?one=1&two=3")
    assert compared.status_code == 200 and "<td>–</td><td>0.250" in compared.text


def test_two_versions_stand_side_by_side(browser: TestClient) -> None:
    answer = browser.get("/concepts/fox/compare?one=1&two=2")
    assert answer.status_code == 200 and "script" not in answer.headers["content-security-policy"]
    assert browser.get("/concepts/fox/compare?one=1&two=9").status_code == 400


def test_without_its_registry_the_page_shows_the_rest(browser: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*arguments: object) -> None:
        raise ConnectionError("MLflow cannot be used")

    monkeypatch.setattr(concept, "history", away)
    page = browser.get("/concepts/fox")
    assert page.status_code == 200 and "The versions cannot be shown: MLflow cannot be used" in page.text
