"""Samples of a word that is being learned."""

import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tasks import artifacts
from tasks.invert import invert_one
from tasks.pipeline import progress
from tasks.settings import Settings
from tasks.words.embedding_file import files_of
from tests.support.words import SETTINGS


def trained(settings: Settings, method: str, options: dict[str, Any]) -> list[bytes]:
    """Train the fox for 16 steps and return the bytes of what was learned."""
    values = settings.model_dump()
    values["invert"] |= {"method": method, "options": options, "max_train_steps": 16, "pick": None, "early_stop": None}
    values["concepts"] = {"fox": {"kind": "object", "placeholder_token": "<fox>", "initializer_token": "dog"}}
    return [path.read_bytes() for path in files_of(invert_one("fox", Settings.model_validate(values)))]


def folder_of(concept: str) -> Path:
    return progress.PREVIEWS / concept


@pytest.fixture
def curated(settings: Settings) -> Settings:
    artifacts.curated("fox").mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (16, 16), (80 * number, 200, 90)).save(artifacts.curated("fox") / f"{number}.png")
    artifacts.write_json(artifacts.manifest("fox"), {"pictures": [{"file": f"{number}.png", "kept": True} for number in range(3)]})
    return settings


@pytest.mark.parametrize("method", ["norm_held", "lora", "perfusion", "dreambooth"])
def test_who_watches_changes_nothing(curated: Settings, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LATELY", 600.0)
    options = SETTINGS.get(method, {})
    alone = trained(curated, method, options)
    assert not folder_of("fox").exists()
    progress.watch()
    assert trained(curated, method, options) == alone
    names = [path.name for path in sorted(folder_of("fox").iterdir())]
    assert names[:8] == [f"{step:06d}.png" for step in range(2, 17, 2)]
    assert Image.open(folder_of("fox") / names[0]).size == (32, 16)


def test_a_later_training_forgets_the_samples_of_an_earlier_one(curated: Settings) -> None:
    progress.watch()
    trained(curated, "norm_held", {})
    long_ago = progress.WATCHED.stat().st_mtime - 60
    os.utime(progress.WATCHED, (long_ago, long_ago))
    trained(curated, "norm_held", {})
    assert not folder_of("fox").exists()
