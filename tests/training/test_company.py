"""Concepts that are inverted together."""

import gc
import weakref
from collections.abc import Collection

import pytest
from PIL import Image

from tasks import artifacts
from tasks.diffusion.base_model import BaseModel, load_base_model
from tasks.inversion.training import Training
from tasks.settings import Settings
from tasks.training import company
from tasks.training.company import invert_together
from tasks.training.start import Recipe, prepare


def two_words(settings: Settings) -> Settings:
    """Settings in which fox and cup are trained one after the other, each by DreamBooth for two steps."""
    for key in ("fox", "cup"):
        artifacts.curated(key).mkdir(parents=True)
        Image.new("RGB", (16, 16), (60, 9, len(key))).save(artifacts.curated(key) / "0.png")
        artifacts.write_json(artifacts.manifest(key), {"pictures": [{"file": "0.png", "kept": True}]})
    values = settings.model_dump()
    values["invert"] |= {"method": "dreambooth", "options": {"identifier": "alien", "prior": None}, "max_train_steps": 2, "pick": None}
    values["runtime"] |= {"concepts_per_batch": 1}
    values["concepts"] = {key: {"kind": "object", "placeholder_token": f"<{key}>", "initializer_token": "dog"} for key in ("fox", "cup")}
    return Settings.model_validate(values)


def test_an_ended_training_makes_room_for_the_next(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    held = {}

    def prepared(recipe: Recipe, base: BaseModel, failed: Collection[str]) -> Training:
        training = prepare(recipe, base, failed)
        held[training.concept] = weakref.ref(next(iter(training.trainable.changes.values())).weight)
        return training

    monkeypatch.setattr(company, "prepare", prepared)
    base = load_base_model(settings.base.model, None, "cpu")
    ended = invert_together(["fox", "cup"], two_words(settings), base, ())
    assert next(ended) == ("fox", None) and held["fox"]() is not None
    assert next(ended) == ("cup", None)
    gc.collect()
    assert held["fox"]() is None
    assert not list(ended) and not list(artifacts.checkpoints().iterdir())
