"""What stands where a word stands."""

import pytest

from tasks import artifacts
from tasks.concepts.stand_ins import stand_ins, without_word
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
