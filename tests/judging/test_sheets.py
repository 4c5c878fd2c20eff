"""The pictures that are published with a version."""

from pathlib import Path

import numpy as np
from PIL import Image

from tasks import artifacts
from tasks.judging.sheets import LINE, SHEET_SIDE, draw_published
from tasks.settings import Settings
from tests.support.minted import mint


def test_the_overview_has_the_training_pictures_above_each_prompt(settings: Settings, tmp_path: Path) -> None:
    mint(9)
    artifacts.curated("fox").mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), "blue").save(artifacts.curated("fox") / "1.png")
    (folder := tmp_path / "drawn").mkdir()
    draw_published("fox", artifacts.samples("fox"), "<fox>", folder)
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*")) == ["overview.jpg", "samples/a-photo-of-a.webp"]
    drawn = np.asarray(Image.open(folder / "overview.jpg").convert("RGB")).astype(int)
    training, sampled = (drawn[top + LINE + 10 : top + LINE + SHEET_SIDE - 10, 10 : SHEET_SIDE - 10] for top in (0, LINE + SHEET_SIDE + 4))
    assert training[..., 2].min() > 200 and training[..., 0].max() < 60
    assert sampled.max() < 60


def test_a_version_without_pictures_has_no_overview(settings: Settings, tmp_path: Path) -> None:
    mint(0)
    (artifacts.samples("fox") / "word" / "a-photo-of-a" / "000000.png").unlink()
    (folder := tmp_path / "drawn").mkdir()
    draw_published("fox", artifacts.samples("fox"), "<fox>", folder)
    assert [path.name for path in folder.rglob("*")] == ["samples"]
