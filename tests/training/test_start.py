"""Where a word starts: as a phrase, or as another concept, which is then trained before it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import safe_open

from tasks import artifacts
from tasks.diffusion.base_model import BaseModel, load_base_model
from tasks.diffusion.ddim import encode
from tasks.diffusion.words import initializer_row, nearest_words
from tasks.inversion.encoder import ENCODER, encoder_bytes
from tasks.inversion.training import Training, new_training
from tasks.invert import invert
from tasks.settings import Settings
from tasks.training.start import prepare, recipe_of, rounds, training_record
from tasks.words.embedding_file import read_rows
from tests.support.words import SETTINGS, random_encoder


def chained(settings: Settings) -> Settings:
    """Settings in which hat starts as fox, and fox as cup; each learns for two steps from three pictures."""
    starts = {"hat": "<fox>", "fox": "<cup>", "cup": "dog", "tie": "cat"}
    for key in starts:
        artifacts.curated(key).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (16, 16), (60 * number, 9, len(key))).save(artifacts.curated(key) / f"{number}.png")
        pictures = [{"file": f"{number}.png", "kept": True} for number in range(3)]
        artifacts.write_json(artifacts.manifest(key), {"pictures": pictures})
    values = settings.model_dump()
    values["invert"] |= {"method": "textual_inversion", "options": {}, "max_train_steps": 2, "average_last": 0.0}
    values["concepts"] = {key: {"kind": "object", "placeholder_token": f"<{key}>", "initializer_token": start} for key, start in starts.items()}
    return Settings.model_validate(values)


def word(base: BaseModel, initializer: str, num_vectors: int) -> Training:
    latents = torch.zeros(1, *base.latent_shape), torch.ones(1, *base.latent_shape)
    return new_training(base, "fox", "<fox>", initializer, "object", ("a {}",), latents, num_vectors, 1, 1e-3, 1, (0.0, 1.0), 0.0, seed=0)


def test_a_phrase_is_one_vector_for_each_word_or_their_mean(base: BaseModel) -> None:
    parts = torch.stack([initializer_row(base, part) for part in ("oil", "painting", "cat")])
    assert torch.equal(word(base, "oil painting cat", 3).trainable.rows, parts)
    torch.testing.assert_close(word(base, "oil painting cat", 1).trainable.rows, parts.mean(dim=0, keepdim=True))
    with pytest.raises(ValueError, match=r"fox has invert\.num_vectors 2 and starts as 3 vectors; set it to 3, or to 1 for their mean"):
        word(base, "oil painting cat", 2)
    with pytest.raises(ValueError, match="initializer_token 'mooncat' is"):
        word(base, "oil mooncat", 2)


def test_a_concept_is_trained_after_the_one_it_starts_as(settings: Settings) -> None:
    chain = chained(settings)
    assert rounds(["hat", "tie", "fox", "cup"], chain) == [["tie", "cup"], ["fox"], ["hat"]]
    assert rounds(["hat", "cup"], chain) == [["hat", "cup"]]  # fox is not among them
    assert rounds([], chain) == []


def test_a_word_starts_as_another_is_when_its_turn_comes(settings: Settings) -> None:
    chain, ended = chained(settings), dict[str, Any]()
    ended.update(invert.fn(["hat", "fox", "cup"], chain))
    assert ended == {"cup": None, "fox": None, "hat": None}
    assert list(ended) == ["cup", "fox", "hat"]
    fox = artifacts.learned_embeds("fox")
    assert artifacts.read_json(artifacts.train_record("hat"))["started_as"] == {"concept": "fox", "digest": artifacts.sha256(fox)}
    base = load_base_model(chain.base.model, None, chain.runtime.device)
    assert torch.equal(prepare(recipe_of("hat", chain), base).trainable.rows, read_rows(fox)["<fox>"])


def test_a_word_cannot_start_as_one_that_failed_or_was_never_built(settings: Settings) -> None:
    chain, ended = chained(settings), dict[str, Any]()
    with pytest.raises(ValueError, match="hat starts as fox, which has no embedding; run `wordmint build fox` first"):
        prepare(recipe_of("hat", chain), load_base_model(chain.base.model, None, chain.runtime.device))
    (artifacts.curated("cup") / "0.png").unlink()
    artifacts.learned_embeds("cup").parent.mkdir(parents=True)
    artifacts.learned_embeds("cup").write_bytes(b"what it was before")
    ended.update(invert.fn(["hat", "fox", "cup"], chain))
    assert isinstance(ended["cup"], FileNotFoundError)
    assert "fox starts as cup" in str(ended["fox"])
    assert "hat starts as fox" in str(ended["hat"])
    assert not Path(artifacts.learned_embeds("fox")).exists()


def test_what_else_pictures_show_is_part_of_what_decides_a_word(settings: Settings, base: BaseModel) -> None:
    chain = chained(settings)
    before = training_record(recipe_of("cup", chain), base)
    assert prepare(recipe_of("cup", chain), base).data.contexts == ("",) and "contexts" not in before
    manifest = artifacts.read_json(artifacts.manifest("cup"))
    manifest["pictures"][1]["context"] = "on the moon"
    artifacts.write_json(artifacts.manifest("cup"), manifest)
    assert training_record(recipe_of("cup", chain), base) == before | {"contexts": ("", "on the moon", "")}
    assert prepare(recipe_of("cup", chain), base).data.contexts == ("", "on the moon", "")


def from_pictures(settings: Settings, base: BaseModel, **inversion: Any) -> Settings:
    """Settings in which cup starts from its pictures, by an encoder that has learned nothing."""
    Path("encoder").mkdir()
    (Path("encoder") / ENCODER).write_bytes(encoder_bytes(random_encoder(base), base, "nothing"))
    values = chained(settings).model_dump()
    values["base"]["encoder"] = "encoder"
    values["concepts"] = {"cup": {"kind": "object", "placeholder_token": "<cup>", "initializer_token": "<from-pictures>", "invert": inversion}}
    return Settings.model_validate(values)


def test_a_word_starts_as_the_encoders_word_for_its_pictures(settings: Settings, base: BaseModel) -> None:
    fresh = from_pictures(settings, base)
    pictures = [Image.open(path) for path in sorted(artifacts.curated("cup").glob("*.png"))]
    with torch.inference_mode():
        start = random_encoder(base).word(encode(base, pictures)[0])
    torch.testing.assert_close(prepare(recipe_of("cup", fresh), base).trainable.rows.detach(), start[None], atol=1e-3, rtol=1e-2)
    ((_, error),) = invert.fn(["cup"], fresh)
    record = artifacts.read_json(artifacts.train_record("cup"))
    assert error is None and record["encoder_sha256"] == artifacts.sha256(Path("encoder") / ENCODER)
    assert record["coarse_word"] == nearest_words(base, start, 1)[0][0]
    with safe_open(artifacts.learned_embeds("cup"), "pt") as file:
        assert file.metadata()["initializer_token"] == record["coarse_word"]  # what another catalog compares an imported word with


def test_the_method_encoder_refines_the_encoders_word(settings: Settings, base: BaseModel) -> None:
    fresh = from_pictures(settings, base, method="encoder", options={"weight": 1.0}, max_train_steps=3)
    ((_, error),) = invert.fn(["cup"], fresh)
    rows = read_rows(artifacts.learned_embeds("cup"))["<cup>"]
    assert error is None and artifacts.read_json(artifacts.train_record("cup"))["method"] == "encoder"
    torch.testing.assert_close(rows.norm(dim=1)[0], base.vocabulary.norm(dim=1).mean())


def test_only_words_that_start_from_pictures_depend_on_the_encoder(settings: Settings, base: BaseModel) -> None:
    fresh = from_pictures(settings, base)
    cup = fresh.concepts["cup"].model_copy(update={"initializer_token": "dog"})
    plain = fresh.model_copy(update={"concepts": {"cup": cup}})
    before, of_plain = training_record(recipe_of("cup", fresh), base), training_record(recipe_of("cup", plain), base)
    (Path("encoder") / ENCODER).write_bytes(b"another encoder")
    assert training_record(recipe_of("cup", plain), base) == of_plain
    assert training_record(recipe_of("cup", fresh), base) != before
    with pytest.raises(ValueError, match="is damaged"):
        prepare(recipe_of("cup", fresh), base)


@pytest.mark.parametrize("name", ["extended", "lora", "perfusion", "dreambooth"])
def test_other_methods_start_from_pictures_too_or_say_why_not(settings: Settings, base: BaseModel, name: str) -> None:
    options = SETTINGS[name] | ({"prior": None} if name == "dreambooth" else {})
    ((_, error),) = invert.fn(["cup"], from_pictures(settings, base, method=name, options=options, max_train_steps=2))
    if name in ("perfusion", "dreambooth"):
        assert "cup has no class word, since it does not start as an ordinary word" in str(error)
    else:
        assert error is None and artifacts.read_json(artifacts.train_record("cup"))["coarse_word"]
