"""Candidates by agreement with the text and with the words' pictures."""

from pathlib import Path

import pytest
from PIL import Image

from tasks import artifacts
from tasks.settings import Settings
from tasks.using.ranking import agreements, best_first


def test_kinds_of_agreement_count_alike_whatever_their_scale() -> None:
    # The first column spans 0.02 and the second 0.35; in standard scores the middle row is above both others.
    rows = [{"text": 0.20, "<fox>": 0.9}, {"text": 0.215, "<fox>": 0.8}, {"text": 0.22, "<fox>": 0.55}]
    assert best_first(rows) == [1, 0, 2]
    assert best_first([{name: 100 * value if name == "text" else value for name, value in row.items()} for row in rows]) == [1, 0, 2]


def test_what_agrees_alike_or_with_nothing_stays_in_its_order() -> None:
    assert best_first([{}, {}, {}]) == [0, 1, 2]
    assert best_first([{"text": 0.3}] * 3) == [0, 1, 2]


def test_a_picture_of_the_concept_itself_agrees_best(settings: Settings, tiny_scorer_folder: Path) -> None:
    settings = settings.model_copy(
        update={"scorer": settings.scorer.model_copy(update={"model": f"local-dir:{tiny_scorer_folder}", "pretrained": None})}
    )
    with pytest.raises(ValueError, match=r"has no pictures to compare with; run `wordmint build fox`"):
        agreements([Image.new("RGB", (32, 32))], "a <fox>", {"<fox>": "fox"}, settings)
    artifacts.curated("fox").mkdir(parents=True)
    red, blue = (Image.new("RGB", (32, 32), colour) for colour in ("red", "blue"))
    red.save(artifacts.curated("fox") / "1.png")
    first, second = agreements([blue, red], "a photo of a <fox>", {"<fox>": "fox"}, settings)
    assert list(first) == ["text", "<fox>"] and second["<fox>"] == pytest.approx(1, abs=1e-5) and first["<fox>"] < second["<fox>"]
    assert list(agreements([blue], "<fox>", {"<fox>": "fox"}, settings)[0]) == ["<fox>"]
