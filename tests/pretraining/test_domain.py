"""The embedded base's domain: things that it has seen, and never the nouns that were held out."""

from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from tasks.artifacts import folder_digest
from tasks.pretraining.domain import SEEN, draw_domain
from tasks.pretraining.nouns import ALL_THINGS, HELD_OUT


def one_sprite_for_all(folder: Path, *styles: str) -> None:
    """Art in which every thing is the same red disc."""
    sprite = np.zeros((64, 64, 4), np.uint8)
    sprite[16:48, 16:48] = (220, 30, 30, 255)
    for style in styles:
        np.save(folder / f"{style}-64-{len(ALL_THINGS)}.npy", np.broadcast_to(sprite, (len(ALL_THINGS), 64, 64, 4)))


def test_held_out_nouns_are_not_in_the_domain() -> None:
    assert not {ALL_THINGS[index] for index in SEEN} & {*HELD_OUT, "balloon"}
    assert len(SEEN) > 600


def test_a_domain_has_a_folder_of_pictures_for_each_thing(tmp_path: Path) -> None:
    one_sprite_for_all(tmp_path, "fluent", "noto")
    for name in ("one", "two"):
        draw_domain(tmp_path, tmp_path / name, things=3, pictures_each=2, seed=1, styles=("fluent", "noto"))
    places = sorted((tmp_path / "one").iterdir())
    assert [place.name for place in places] == ["00000", "00001", "00002"]
    for place in places:
        assert [Image.open(file).size for file in sorted(place.glob("*.png"))] == [(64, 64)] * 2
        assert set(yaml.safe_load((place / "captions.yaml").read_text())["context"]) <= {"1.png", "2.png"}
        assert folder_digest(place) == folder_digest(tmp_path / "two" / place.name)
