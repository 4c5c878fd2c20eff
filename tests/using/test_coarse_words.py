"""Which words are suggested for pictures, by the cosines of pictures and words."""

import torch

from tasks.using.coarse_words import nearest, telling

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
