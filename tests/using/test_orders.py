"""What a person may ask to be drawn, and how an order is carried out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tasks.registry import lifecycle
from tasks.settings import Settings
from tasks.using.champions import champion_versions
from tasks.using.orders import carry_out, folder_of, keep, order_of
from tests.support.minted import mint, record


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": "a dog", "number": 0}, "number"),
        ({"prompt": "a dog", "number": 3, "candidates": 2}, "raise --candidates or lower --keep"),
        ({"prompt": "a dog", "seed": -1}, "seed"),
        ({"prompt": "a dog", "kind": "paint"}, "kind"),
        ({"prompt": "a dog", "out": "/etc"}, "out"),
        ({"prompt": "a dog", "kind": "reimagine"}, "name the concept"),
        ({"prompt": "a dog", "guidance_scales": [0.5]}, "guidance_scales"),
    ],
)
def test_an_order_that_breaks_a_rule_is_one_line(asked: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as raised:
        order_of(**asked)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"guidance_scale": 0.5}, "guidance_scale"),
        ({"kind": "edit"}, "a picture and a mask"),
        ({"prompt": "a <unicorn>"}, "this catalog has no word <unicorn>"),
    ],
)
def test_what_the_catalog_cannot_draw_is_refused(settings: Settings, asked: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        list(carry_out(order_of(**{"prompt": "a dog"} | asked), settings))


def test_a_picture_says_what_made_it(settings: Settings) -> None:
    order = order_of(prompt="a dog", negative="a cat", number=2, seed=7, num_inference_steps=2)
    drawn = list(carry_out(order, settings))
    paths = [keep(one, order, Path("out") / folder_of(order.prompt), settings) for one in drawn]
    assert [path.as_posix() for path in paths] == ["out/a-dog/000007.png", "out/a-dog/000008.png"]
    text = Image.open(paths[1]).text  # type: ignore[attr-defined]
    assert text == {"prompt": "a dog", "negative": "a cat", "model": "data/base/tiny", "seed": "8"}


def test_a_picture_says_which_version_of_a_word_drew_it(settings: Settings) -> None:
    for seed, reconstruction in ((0, 0.75), (1, 0.9)):
        mint(seed, reconstruction)
        record(settings)
    order = order_of(prompt="a <fox>", number=1, num_inference_steps=1)
    for version in (1, 2):
        assert champion_versions(["<fox>", "<unicorn>"], settings) == {"<fox>": version}
        (drawn,) = carry_out(order, settings)
        assert drawn.words == {"<fox>": version}
        assert Image.open(keep(drawn, order, Path("out"), settings)).text["words"] == f"<fox> v{version}"  # type: ignore[attr-defined]
        if version == 1:
            lifecycle.promote("fox")
    (drawn,) = carry_out(order_of(prompt="a dog", number=1, num_inference_steps=1), settings)
    assert drawn.words == {}


def test_a_large_seed_is_written_in_full(settings: Settings) -> None:
    order = order_of(prompt="a dog", number=1, seed=2**62 + 1, num_inference_steps=1)
    (drawn,) = carry_out(order, settings)
    text = Image.open(keep(drawn, order, Path("out"), settings)).text  # type: ignore[attr-defined]
    assert text["seed"] == str(2**62 + 1)


def test_guidance_away_from_the_prompt_itself_leads_nowhere(settings: Settings) -> None:
    """u + s (c - u) is c for every scale s where u = c."""

    def pixels(**asked: Any) -> np.ndarray:
        (drawn,) = carry_out(order_of(prompt="a dog", number=1, num_inference_steps=3, **asked), settings)
        return np.asarray(drawn.picture, dtype=int)

    plain = pixels(guidance_scale=1)
    assert np.abs(pixels(guidance_scale=5, negative="a dog") - plain).max() <= 1
    assert np.abs(pixels(guidance_scale=5, negative="a cat") - pixels(guidance_scale=5)).max() > 1
