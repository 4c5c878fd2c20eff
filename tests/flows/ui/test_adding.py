"""Adding a concept as a browser does."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.testclient import TestClient

from flows.ui.adding import unique_stems
from flows.ui.app import make_app
from flows.ui.guard import WRITE, Access
from flows.ui.uploads import UPLOADS
from tasks import artifacts
from tasks.concepts.captions import read_captions, read_contexts
from tasks.settings import load_settings
from tests.support.catalogs import draw_picture

pytestmark = pytest.mark.slow
RIGHTS = {"source": "my camera", "licence": "<b>CC0</b>", "consent": "no people"}


@pytest.fixture
def browser(catalog: Path) -> TestClient:
    access = Access()
    return TestClient(make_app(access, ThreadPoolExecutor(1)), base_url="http://127.0.0.1", headers={WRITE: access.write_token})


def sent(browser: TestClient, seeds: list[int], folder: Path) -> list[dict[str, Any]]:
    """Send pictures and return them as the page names them."""
    pictures = []
    for seed in seeds:
        draw_picture(folder / "picture.png", seed)
        answer = browser.put("/api/uploads", content=(folder / "picture.png").read_bytes())
        assert answer.status_code == 200, answer.text
        pictures.append({"id": answer.json()["id"], "name": f"../my picture {seed}.PNG"})
    return pictures


def test_pictures_are_judged_as_curate_would(browser: TestClient, tmp_path: Path) -> None:
    pictures = sent(browser, [50, 51, 51], tmp_path)
    verdicts = browser.post("/api/judge", json={"pictures": pictures}).json()
    assert [verdicts[picture["id"]]["why"] for picture in pictures] == ["", "", "the same file as ../my picture 51.PNG"]
    assert [verdicts[picture["id"]]["like"] for picture in pictures] == ["", "", pictures[1]["id"]]
    refused = browser.put("/api/uploads", content=b"no picture")
    assert refused.status_code == 400 and "not a picture" in refused.json()["error"]
    assert browser.post("/api/judge", json={"pictures": [{"id": "../../etc/passwd", "name": "x"}]}).status_code == 400


def test_words_of_the_vocabulary_are_suggested(browser: TestClient, tmp_path: Path) -> None:
    ids = [picture["id"] for picture in sent(browser, [50, 51], tmp_path)]
    found = browser.post("/api/words", json={"pictures": ids}).json()
    assert len(found["concept"]) == 6 and found["concept"] == sorted(found["concept"], key=lambda row: -row["cosine"])
    assert list(found["pictures"]) == ids and all(len(words) <= 3 for words in found["pictures"].values())
    assert browser.post("/api/words", json={"pictures": []}).status_code == 422


def test_a_concept_is_added_with_its_captions_and_rights(browser: TestClient, tmp_path: Path) -> None:
    pictures = sent(browser, [60, 61, 62], tmp_path)
    pictures[1]["context"] = "on  the grass"
    new = {"name": "mug", "word": "dog", "pictures": pictures, "short": "a  red mug ", **RIGHTS}
    answer = browser.post("/api/concepts", json=new)
    assert answer.status_code == 200, answer.text
    assert load_settings().concept("mug").initializer_token == "dog"
    folder = artifacts.images("mug")
    names = ["captions.yaml", "my-picture-60.png", "my-picture-61.png", "my-picture-62.png"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert read_contexts(folder, names[1:]) == {"my-picture-61.png": "on the grass"}
    assert read_captions(folder) == {"short": "a red mug"}
    assert yaml.safe_load(artifacts.rights("mug").read_text()) == RIGHTS
    page = browser.get("/concepts/mug").text
    assert "not judged yet" in page and "my-picture-60.png" in page
    again = browser.post("/api/concepts", json=new)
    assert again.status_code == 400 and "exists already" in again.json()["error"]


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"name": "../up"}, "concept key"),
        ({"licence": ""}, "--licence"),
        ({"short": "word " * 13}, "the short caption has 13 words; give it 1 to 12"),
        ({"kind": "sound"}, "kind"),
        ({"folder": "/etc"}, "folder"),
        ({"pictures": [{"id": "0" * 16, "name": "x"}]}, "add it again"),
        ({"pictures": [{"id": "0" * 16, "name": "x", "path": "/etc/passwd"}]}, "path"),
    ],
)
def test_what_cannot_be_added_leaves_nothing(browser: TestClient, tmp_path: Path, changed: dict[str, Any], complaint: str) -> None:
    before = Path("params.yaml").read_bytes(), sorted(artifacts.DATA.rglob("*"))
    new = {"name": "cup", "word": "dog", "pictures": sent(browser, [70, 71, 72], tmp_path), **RIGHTS} | changed
    answer = browser.post("/api/concepts", json=new)
    assert answer.status_code in (400, 422) and complaint in answer.json()["error"], answer.text
    assert (Path("params.yaml").read_bytes(), sorted(artifacts.DATA.rglob("*"))) == before
    shutil.rmtree(UPLOADS)


def test_names_of_clients_become_plain_file_names() -> None:
    names = ["a b.png", "a?b.JPG", "../../x.png", "", "<img src=x>", "C:\\photos\\me.png", "ü.png"]
    stems = unique_stems(names)
    assert len(set(stems)) == len(names)
    assert all(set(stem) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") and stem for stem in stems)
