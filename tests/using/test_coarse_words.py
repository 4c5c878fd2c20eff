"""Which words are suggested for pictures, by the cosines of pictures and words."""

from pathlib import Path

import torch
from PIL import Image

from tasks.diffusion.base_model import load_base_model
from tasks.settings import load_settings
from tasks.using.coarse_words import nearest, seen, telling

WORDS = ["owl", "deer", "snow", "beach", *(f"word{number}" for number in range(40))]


def cosines(*rows: list[float]) -> torch.Tensor:
    """Cosines with the first words; those with the others are near 0."""
    rest = torch.linspace(-0.1, 0.1, len(WORDS) - 4)
    return torch.stack([torch.cat([torch.tensor(row), rest]) for row in rows])


def test_what_all_pictures_show_is_the_concepts_word() -> None:
    found = nearest(WORDS, cosines([0.6, 0.4, 0.5, 0.0], [0.6, 0.4, 0.0, 0.5]), 2)
    assert found == [("owl", 0.6), ("deer", 0.4)]


def test_what_one_picture_shows_is_its_context() -> None:
    table = cosines([0.6, 0.4, 0.5, 0.0], [0.6, 0.4, 0.0, 0.5], [0.6, 0.4, 0.0, 0.0])
    assert telling(WORDS, table, 3) == [["snow"], ["beach"], []]
    assert telling(WORDS, table[:1], 3) == [[]], "a single picture has no others to differ from"
    assert telling(WORDS, table, 0) == [[], [], []]


def test_suggestions_take_the_base_model_that_is_in_memory(tmp_path: Path, tiny_base_folder: Path, tiny_scorer_folder: Path) -> None:
    settings = load_settings(Path(__file__).parents[2] / "params.yaml")
    base = settings.base.model_copy(update={"model": str(tiny_base_folder), "revision": None})
    scorer = settings.scorer.model_copy(update={"model": f"local-dir:{tiny_scorer_folder}", "pretrained": None})
    settings = settings.model_copy(update={"base": base, "scorer": scorer})
    Image.radial_gradient("L").save(tmp_path / "0.png")
    loaded = load_base_model(*settings.base_model)
    words, found = seen([tmp_path / "0.png"], settings)
    assert found.shape == (1, len(words))
    assert load_base_model(*settings.base_model) is loaded
