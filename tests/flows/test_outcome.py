"""The pictures with which Prefect shows what a build did."""

import base64
import io
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from flows import outcome
from flows.outcome import Outcome, show_samples
from tasks import artifacts
from tasks.drawing.strips import SIDE
from tests.support.catalogs import draw_picture


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The pages that Prefect is given, in a catalog where the fox and the owl have samples of three prompts."""
    monkeypatch.chdir(tmp_path)
    for concept in ("fox", "owl"):
        prompts = [{"prompt": f"{number} {{}}", "slug": f"prompt-{number}"} for number in range(3)]
        artifacts.write_json(artifacts.samples_record(concept), {"prompts": prompts})
        for prompt in prompts:
            for seed in range(2):
                draw_picture(artifacts.samples(concept) / "word" / prompt["slug"] / f"{seed:06d}.png", seed)
    given = list[dict[str, Any]]()
    monkeypatch.setattr(outcome, "create_markdown_artifact", lambda text, **facts: given.append({"text": text, **facts}))
    return given


def test_each_built_concept_shows_one_sample_of_each_prompt(pages: list[dict[str, Any]]) -> None:
    seconds = dict.fromkeys(("fox", "owl", "mug", "cup"), 1.0)
    show_samples(
        Outcome(ran={"fox": ["sample"], "mug": ["curate"], "cup": ["sample"]}, restored={"owl": ["sample"]}, seconds=seconds, failed={"mug": "x"})
    )
    text = pages[0]["text"]
    assert pages[0]["key"] == "samples" and re.findall(r"samples of (\w+)", text) == ["fox", "owl"], "the cup's samples are on another machine"
    for data in re.findall(r"base64,([^)]+)", text):
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (3 * SIDE, SIDE)


def test_the_page_has_a_largest_size(pages: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    built = Outcome(ran={"fox": ["sample"], "owl": ["sample"]}, seconds={"fox": 1.0, "owl": 1.0})
    show_samples(built)
    monkeypatch.setattr(outcome, "MOST_BYTES", len(pages[0]["text"]) - 10)
    show_samples(built)
    assert re.findall(r"samples of (\w+)", pages[1]["text"]) == ["fox"] and "The pictures of the others are in the report." in pages[1]["text"]
    show_samples(Outcome())
    assert len(pages) == 2, "a build without anything to do leaves no page"
