"""A concept that is more than one row, from its training to the registry: where its word is drawn its changes are on, and nowhere else."""

import io
import shutil
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from PIL import Image

from tasks import artifacts
from tasks.invert import invert_one
from tasks.register import register
from tasks.registry import reading
from tasks.registry.registered_model import DEFAULTS
from tasks.sample import sample
from tasks.score import score
from tasks.settings import Settings
from tasks.using.imagine import imagine_pictures
from tasks.words.embedding_file import ADAPTERS, files_of
from tests.support.words import SETTINGS

PROMPTS = ("a photo of a {}", "a photo of a {} on the moon")


def with_method(settings: Settings, scorer: Path, method: str, **options: Any) -> Settings:
    values = settings.model_dump()
    values["scorer"] = {"model": f"local-dir:{scorer}", "pretrained": None}
    values["score"]["fidelity"], values["register"]["floor"] = None, False
    values["invert"] |= {"method": method, "options": options, "max_train_steps": 2}
    values["sample"] |= {"num_inference_steps": 3, "pictures_per_prompt": 2, "reference_pictures": 2, "guidance_scale": 4.0}
    values["sample"]["prompts"]["object"] = PROMPTS
    values["concepts"] = {"fox": {"kind": "object", "placeholder_token": "<fox>", "initializer_token": "dog"}}
    return Settings.model_validate(values)


def drawn(settings: Settings) -> dict[str, bytes]:
    """Train and sample the fox from nothing and return its pictures."""
    shutil.rmtree(artifacts.CACHE, ignore_errors=True)
    invert_one("fox", settings)
    sample.fn("fox", settings)
    folder = artifacts.samples("fox")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.glob("*/*/*.png")}


def curated_fox() -> None:
    artifacts.curated("fox").mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (16, 16), (80 * number, 200, 90)).save(artifacts.curated("fox") / f"{number}.png")
    artifacts.write_json(artifacts.manifest("fox"), {"pictures": [{"file": f"{number}.png", "kept": True} for number in range(3)]})


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dreambooth", "extended", "perfusion"])
def test_a_method_goes_from_training_to_the_registry(settings: Settings, tiny_scorer_folder: Path, method: str) -> None:
    curated_fox()
    chosen = with_method(settings, tiny_scorer_folder, method, **SETTINGS[method])
    pictures = drawn(chosen)
    trained = artifacts.read_json(artifacts.train_record("fox"))
    assert ("changes_bytes" in trained) == (method != "extended") == any(name.startswith("word_alone/") for name in pictures)
    score.fn("fox", chosen)
    register.fn("fox", chosen)
    path, _ = reading.published("fox")
    assert [file.read_bytes() for file in files_of(path)] == [file.read_bytes() for file in files_of(artifacts.learned_embeds("fox"))]
    prompt, expected = PROMPTS[0].format("<fox>"), pixels(pictures["word/a-photo-of-a/000000.png"])
    (imagined,) = imagine_pictures(prompt, [0], chosen)
    assert np.abs(np.asarray(imagined, dtype=float) - expected).max() <= 2
    (served,) = mlflow.pyfunc.load_model("models:/concept.fox@champion").predict([prompt], params=DEFAULTS | {"num_inference_steps": 3})
    assert np.abs(pixels(served) - expected).max() <= 3


@pytest.mark.slow
def test_a_tuned_word_takes_its_lora_along(settings: Settings, tiny_scorer_folder: Path) -> None:
    curated_fox()
    plain = drawn(with_method(settings, tiny_scorer_folder, "textual_inversion"))
    untuned = artifacts.sha256(artifacts.learned_embeds("fox"))
    tuned_settings = with_method(
        settings, tiny_scorer_folder, "lora", word="textual_inversion", layers="attention", steps=12, rank=2, learning_rate=0.05
    )
    tuned = drawn(tuned_settings)
    alone = {name: tuned.pop(name) for name in list(tuned) if name.startswith("word_alone/")}
    assert tuned.keys() == plain.keys()
    assert alone == {name.replace("word/", "word_alone/"): png for name, png in plain.items() if name.startswith("word/")}
    assert {name.split("/")[0] for name in tuned if tuned[name] != plain[name]} == {"word"}
    assert all(tuned[name] != plain[name] for name in tuned if name.startswith("word/"))
    assert artifacts.sha256(artifacts.learned_embeds("fox")) != untuned  # it names its LoRA

    score.fn("fox", tuned_settings)
    register.fn("fox", tuned_settings)
    path, _ = reading.published("fox")
    _, adapter = files_of(path)
    assert adapter.read_bytes() == (artifacts.embeddings("fox") / ADAPTERS["lora"]).read_bytes()
    prompt = PROMPTS[0].format("<fox>")
    (imagined,) = imagine_pictures(prompt, [0], tuned_settings)
    expected = pixels(tuned["word/a-photo-of-a/000000.png"])
    assert np.abs(np.asarray(imagined, dtype=float) - expected).max() <= 2
    (served,) = mlflow.pyfunc.load_model("models:/concept.fox@champion").predict([prompt], params=DEFAULTS | {"num_inference_steps": 3})
    assert np.abs(pixels(served) - expected).max() <= 3
    assert np.abs(pixels(plain["word/a-photo-of-a/000000.png"]) - expected).max() > 10

    (artifacts.embeddings("fox") / ADAPTERS["lora"]).write_bytes(b"another")
    with pytest.raises(ValueError, match=r"needs .* with SHA-256 .*, which is missing or different; restore it, or build the word again"):
        sample.fn("fox", tuned_settings)
    drawn(with_method(settings, tiny_scorer_folder, "textual_inversion"))
    assert not (artifacts.embeddings("fox") / ADAPTERS["lora"]).exists()


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)), dtype=float)
