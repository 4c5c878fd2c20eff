"""A catalog whose versions people can compare, and raters with known tastes."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page

from tasks import artifacts
from tasks.settings import Settings, load_settings
from tests.support.catalogs import ROOT, draw_picture, fill_catalog
from tests.support.minted import mint, record

TASTE = ("right", "v2", "v1", "coarse word: teddy", "Prompt-Only", "wrong")
"""What a careful rater likes, the best first."""


@pytest.fixture(scope="module")
def asked_folder(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path, tiny_base_folder: Path) -> Path:
    """A catalog with two versions of the fox, and training pictures of an owl."""
    folder, previous = tmp_path_factory.mktemp("asked"), Path.cwd()
    os.chdir(folder)
    settings = fill_catalog(migrated_database, tiny_base_folder)
    Path("params.yaml").write_text(json.dumps(settings.model_dump(mode="json")), encoding="utf-8")
    shutil.copy(ROOT / "dvc.yaml", "dvc.yaml")
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, check=True, env=os.environ)
    for concept, seed in (("fox", 100), ("owl", 200)):
        for number in range(4):
            draw_picture(artifacts.curated(concept) / f"{number}.png", seed + number)
    for number in (1, 2):
        mint(number, 0.6 + 0.1 * number)
        draw_samples(settings, 1000 * number)
        record(settings)
    scores = artifacts.read_json(artifacts.scores("fox"))
    scores["reconstruction"]["coarse_word"], scores["editability"]["coarse_word"] = 0.55, 0.5
    scores["editability"]["prompt_only"] = 0.6
    artifacts.write_json(artifacts.scores("fox"), scores)
    os.chdir(previous)
    return folder


@pytest.fixture
def asked(asked_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A copy of the catalog, which is the working directory; the published files stay in the original."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    shutil.copytree(asked_folder, tmp_path / "catalog")
    monkeypatch.chdir(tmp_path / "catalog")
    return load_settings()


def draw_samples(settings: Settings, seed: int) -> None:
    """Write samples of the fox, of its coarse word and of its prompts alone, as the stage of this name does."""
    prompts = {prompt: artifacts.prompt_slug(prompt) for prompt in settings.prompts("fox")}
    for row, slug in enumerate(prompts.values()):
        for start, kind in ((seed, "word"), (50, "coarse_word"), (70, "prompt_only")):
            for number in range(2):
                draw_picture(artifacts.samples("fox") / kind / slug / f"{number:06d}.png", start + 2 * row + number)
    written = artifacts.read_json(artifacts.samples_record("fox"))
    rows = [{"prompt": prompt, "slug": slug} for prompt, slug in prompts.items()]
    facts = {"embedding_digest": artifacts.sha256(artifacts.learned_embeds("fox")), "prompts": rows, "references": {"coarse_word": "teddy"}}
    artifacts.write_json(artifacts.samples_record("fox"), written | facts)


def answer(record: dict[str, Any], code: str, taste: Sequence[str] = TASTE, folder: Path = Path(".")) -> Path:
    """Write the file that a rater of this taste saves."""
    orders = [sorted(range(len(item["candidates"])), key=lambda place: taste.index(item["candidates"][place])) for item in record["items"]]
    path = folder / f"answers-{code}.json"
    path.write_text(json.dumps({"questionnaire": record["id"], "code": code, "answers": orders}), encoding="utf-8")
    return path


def shown_pictures(html: str) -> dict[str, Any]:
    """The data that a page carries."""
    return json.loads(html.split('id="data">')[1].split("</script>")[0])


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def shown_item(page: Page) -> int | None:
    return page.evaluate("steps[state.at].number ?? null")


def order(page: Page) -> list[int]:
    return page.evaluate(f"state.orders[{shown_item(page)}]")


def tap(page: Page, target: Locator) -> None:
    """Tap and wait for the click, which the browser makes of a tap in its own time; each click changes the state."""
    before = page.evaluate("JSON.stringify(state)")
    target.tap()
    for _ in range(1200):
        if page.evaluate("JSON.stringify(state)") != before:
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"a tap on {target} changed nothing")


def fill_in(page: Page, record: dict[str, Any], look: bool) -> None:
    """Go to the end. One who looks taps in the order of TASTE, one who does not presses 1, 2, 3."""
    while "Done, thank you" not in page.inner_text("body"):
        number = shown_item(page)
        if number is not None:
            names = record["items"][number]["candidates"]
            places = sorted(range(len(names)), key=lambda place: TASTE.index(names[place])) if look else list(range(len(names)))
            for place in places[:-1]:
                if look:
                    tap(page, page.locator(".choice").nth(place))
                else:
                    press(page, str(place + 1))
            assert order(page) == places
        if look:
            tap(page, page.locator("#next"))
        else:
            press(page, "Enter")
