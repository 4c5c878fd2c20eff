"""What stands where a word stands."""

import pytest

from tasks import artifacts
from tasks.concepts.stand_ins import coarse_word, stand_ins, without_word
from tasks.settings import Settings
from tests.support.catalogs import captioned


@pytest.mark.parametrize(
    ("prompt", "left"),
    [
        ("a photo of a {} on the moon", "a photo of on the moon"),
        ("an oil painting of an {}", "an oil painting of"),
        ("a car in the style of {} on the beach", "a car in the style of on the beach"),
        ("banana {}", "banana"),
    ],
)
def test_a_prompt_without_its_word(prompt: str, left: str) -> None:
    assert without_word(prompt) == left


def test_what_stands_in_for_a_word(settings: Settings) -> None:
    coarse = settings.concept("fox").initializer_token
    assert stand_ins("fox", settings) == {"coarse_word": coarse}
    captioned(artifacts.images("fox"), "long: a red fox\nshort: a fox")
    assert stand_ins("fox", settings) == {"coarse_word": coarse, "human_long": "a red fox", "human_short": "a fox"}


def test_a_word_that_starts_from_pictures_is_compared_with_the_nearest_word_of_its_start(settings: Settings) -> None:
    fox = settings.concept("fox").model_copy(update={"initializer_token": "<from-pictures>"})
    settings = settings.model_copy(update={"concepts": {"fox": fox}})
    assert stand_ins("fox", settings) == {}
    artifacts.write_json(artifacts.train_record("fox"), {"coarse_word": "dog"})
    assert stand_ins("fox", settings) == {"coarse_word": "dog"} and coarse_word("fox", settings) == "dog"
