"""What a questionnaire shows, and what its record knows."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tasks import artifacts
from tasks.judging.sheets import SHEET_SIDE, cut_sheet, draw_sheets
from tasks.people import page, questionnaire
from tasks.people.questionnaire import Written, arranged, blank, identity, write_questionnaire
from tasks.registry import lifecycle, reading
from tasks.settings import Settings
from tests.support.people import shown_pictures

pytestmark = pytest.mark.slow


def write(settings: Settings, items: int = 2, checks: int = 1, seed: int = 0, concepts: tuple[str, ...] = ()) -> tuple[Written, dict[str, Any]]:
    written = write_questionnaire(concepts, settings, items, checks, seed, None)
    return written, artifacts.read_json(written.record)


def test_every_item_shows_one_picture_of_each_candidate(asked: Settings) -> None:
    record = write(asked)[1]
    assert record["candidates"]["fox"] == {
        "v1": {"version": 1, "digest": reading.tags("fox", 1)["digest"]},
        "v2": {"version": 2, "digest": reading.tags("fox", 2)["digest"]},
        "coarse word: teddy": {"kind": "coarse_word", "text": "teddy"},
        "Prompt-Only": {"kind": "prompt_only", "text": ""},
    }
    items = [item for item in record["items"] if item["right"] is None]
    assert Counter(item["part"] for item in items) == {"similarity": 2, "text": 2}
    for item in items:
        assert sorted(item["candidates"]) == sorted(record["candidates"]["fox"])
        assert len(set(item["pictures"])) == 4
        assert (len(item["training"]), bool(item["text"])) == ((4, False) if item["part"] == "similarity" else (0, True))
    shown = [(item["text"], *sorted(item["pictures"])) for item in items]
    assert len(set(shown)) == len(shown)


def test_texts_are_the_prompts_without_the_word(asked: Settings) -> None:
    texts = {item["text"] for item in write(asked, items=8)[1]["items"] if item["part"] == "text"}
    assert texts == {blank(prompt) for prompt in asked.prompts("fox")[1:]}
    assert blank("a photo of a {} on the moon") == "a photo of … on the moon"
    assert blank("an oil painting of an {}") == "an oil painting of …"


def test_items_are_no_more_than_there_are_pictures(asked: Settings) -> None:
    items = write(asked, items=100, checks=0)[1]["items"]
    assert Counter(item["part"] for item in items) == {"similarity": 2, "text": 2 * 4}


def test_a_check_of_similarity_hides_a_training_picture_among_another_concept(asked: Settings) -> None:
    checks = [item for item in write(asked, checks=4)[1]["items"] if item["right"] is not None]
    assert Counter(item["part"] for item in checks) == {"similarity": 4, "text": 4}
    for item in checks:
        assert len(item["pictures"]) == 4
        assert item["candidates"].count("right") == 1 and item["candidates"][item["right"]] == "right"
        if item["part"] == "similarity":
            assert item["pictures"][item["right"]] in item["training"]
            assert not set(item["training"]) & {picture for place, picture in enumerate(item["pictures"]) if place != item["right"]}


def test_a_catalog_of_one_concept_has_checks_too(asked: Settings) -> None:
    for path in artifacts.curated("owl").glob("*"):
        path.unlink()
    checks = [item for item in write(asked)[1]["items"] if item["right"] is not None]
    assert [len(item["pictures"]) for item in checks] == [4, 4]


def test_the_first_item_is_no_check() -> None:
    for seed in range(20):
        order = arranged(["item", "item"], ["check", "check"], random.Random(seed))  # type: ignore[list-item]
        assert order[0] == "item" and sorted(order) == ["check", "check", "item", "item"]


def test_the_seed_decides_everything(asked: Settings) -> None:
    (first, record), other = write(asked), write(asked, seed=1)[0]
    html = first.page.read_bytes()
    again = write(asked, concepts=("fox", "fox"))[0]
    assert (again, again.page.read_bytes()) == (first, html)
    assert other.id != first.id
    assert record["seed"] == 0 and identity(record) == record["id"] == first.id


def test_the_page_does_not_tell_which_picture_is_whose(asked: Settings) -> None:
    written, record = write(asked)
    html = written.page.read_text(encoding="utf-8")
    data = shown_pictures(html)
    assert data["id"] == record["id"]
    assert [item.keys() for item in data["items"]] == [{"part", "kind", "text", "training", "pictures"}] * 6
    assert list(data["pictures"]) == sorted(data["pictures"])
    secrets = ["coarse", "teddy", "Prompt-Only", "fox", "right", "seed", *(reading.tags("fox", number)["digest"] for number in (1, 2))]
    plain = json.dumps(data | {"pictures": []})
    assert not [secret for secret in secrets if secret in plain]
    assert "http" not in html.replace("https://", "") and "https://" not in html


def test_pictures_carry_no_metadata_and_are_of_one_size(asked: Settings, tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    with Image.open(next(artifacts.curated("fox").glob("*.png"))) as picture:
        picture.save(path, exif=b"Exif\0\0secret")
    assert b"secret" not in page.encoded(path, 128)
    for large, side in ((512, 256), (200, 200), (64, 128)):
        Image.new("RGB", (large, large)).save(path)
        assert questionnaire.common_side([path]) == side


def test_a_version_of_another_build_is_shown_by_its_sheets(asked: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    cut: list[str] = []
    monkeypatch.setattr("tasks.people.candidates.cut_sheet", lambda sheet, folder: cut.append(folder.name) or cut_sheet(sheet, folder))
    write(asked)
    assert set(cut) == {"fox-v1"}


def test_a_sheet_is_cut_into_its_pictures(asked: Settings, tmp_path: Path) -> None:
    (tmp_path / "sheets").mkdir()
    draw_sheets(artifacts.samples("fox"), tmp_path / "sheets")
    slug = artifacts.prompt_slug(asked.prompts("fox")[0])
    paths = cut_sheet(tmp_path / "sheets" / f"{slug}.webp", tmp_path)
    drawn = sorted((artifacts.samples("fox") / "word" / slug).glob("*.png"))
    assert len(paths) == len(drawn)
    for path, source in zip(paths, drawn, strict=True):
        with Image.open(path) as one, Image.open(source) as other:
            assert one.size == (SHEET_SIDE, SHEET_SIDE)
            colours = one.resize((8, 8), Image.Resampling.BOX).get_flattened_data()
            true = other.convert("RGB").resize((8, 8), Image.Resampling.BOX).get_flattened_data()
        assert max(abs(a - b) for x, y in zip(colours, true, strict=True) for a, b in zip(x, y, strict=True)) < 60


def test_errors_name_the_value_and_the_remedy(asked: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="concept 'cat' is not under concepts"):
        write(asked, concepts=("cat",))
    with pytest.raises(ValueError, match="lacks pictures of its prompts; run `wordmint build owl`"):
        write(asked, concepts=("owl",))
    monkeypatch.setattr(page, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="name fewer concepts, or lower --items"):
        write(asked)
    assert not list(artifacts.questionnaire("x").parent.glob("*"))
    lifecycle.revoke("fox", "licence ended")
    with pytest.raises(ValueError, match="revoked"):
        write(asked)
