"""Every family of base models: three steps of training, the file, and a plain diffusers pipeline that draws the same pictures with it."""

import inspect
import json
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tasks.diffusion import base_model
from tasks.diffusion.base_model import BaseModel, base_resolution, load_base_model
from tasks.diffusion.ddim import encode, generate
from tasks.diffusion.families import FAMILIES
from tasks.diffusion.words import encode_prompts, initializer_row
from tasks.inversion.loop import train
from tasks.inversion.training import new_training
from tasks.registry import registered_model
from tasks.settings import load_settings
from tasks.training.result import vocabulary_norm
from tasks.words.embedding_file import embedding_file, read_rows
from tests.support.tiny import RESOLUTION, plain_pipeline, save_tiny_pipeline

ROOT = Path(__file__).parents[2]
PROMPTS = ["a photo of a <fox>", "a cat on the moon"]
RECORD = {"settings": {"placeholder_token": "<fox>", "initializer_token": "dog"}, "base": {}, "data_sha256": "", "versions": {}}


def latents_of(base: BaseModel) -> tuple[Tensor, Tensor]:
    return encode(base, [Image.new("RGB", (RESOLUTION, RESOLUTION), colour) for colour in ("red", "blue", "green")])


def learn(base: BaseModel, folder: Path, num_vectors: int) -> Tensor:
    word = new_training(
        base,
        "fox",
        "<fox>",
        "dog",
        "object",
        ("a photo of a {}", "the {}"),
        latents_of(base),
        num_vectors,
        2,
        5e-2,
        3,
        (0.0, 1.0),
        average_last=0.0,
        seed=0,
    )
    list(train(base, [word], {"fox": folder / "fox.pt"}, 100))
    assert word.error is None
    return word.learned.rows


def test_resolution_is_read_from_the_configs(family_folder: Path, family_base: BaseModel) -> None:
    assert base_resolution(str(family_folder), None) == RESOLUTION == family_base.resolution


@pytest.mark.parametrize("num_vectors", [1, 2])
def test_train_save_load_generate(family_folder: Path, family_base: BaseModel, tmp_path: Path, num_vectors: int) -> None:
    rows = learn(family_base, tmp_path, num_vectors)
    start, width = initializer_row(family_base, "dog"), 0
    assert rows.shape == (num_vectors, sum(family_base.widths))
    for part in family_base.widths:  # the rows of every text encoder have moved
        assert (rows[0, width : width + part] - start[width : width + part]).abs().mean() > 0.01
        width += part
    file = tmp_path / "learned_embeds.safetensors"
    file.write_bytes(embedding_file("fox", rows, RECORD, family_base.parts, family_base.architecture))
    learned = read_rows(file)
    torch.testing.assert_close(learned["<fox>"], rows)

    pipeline = plain_pipeline(family_folder)
    write = registered_model.teach(pipeline, str(file), "<fox>")
    ours = list(generate(family_base, PROMPTS, [0, 1], learned, num_inference_steps=4, guidance_scale=6.0, batch_size=2))
    for seed, (prompt, picture) in enumerate(zip(PROMPTS, ours, strict=True)):
        generator = torch.Generator().manual_seed(seed)
        side = RESOLUTION if "vae" in pipeline.components else 8 * family_base.latent_shape[1]  # the paper's pipeline divides by eight, come what may
        theirs = pipeline([write(prompt)], num_inference_steps=4, generator=generator, **registered_model.as_called(pipeline, 6.0, side)).images[0]
        difference = np.abs(np.asarray(picture, dtype=int) - np.asarray(theirs, dtype=int))
        assert difference.max() <= 2, f"{prompt}: up to {difference.max()} grey levels"
        assert np.asarray(picture).std() > 1


def test_a_word_is_trained_in_float32_where_its_text_encoder_is_in_bfloat16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_model, "float_types", lambda family, device: {"text_encoder": torch.bfloat16})  # as on a GPU
    folder = save_tiny_pipeline(tmp_path / "z-image", family="z-image")
    base = load_base_model.__wrapped__(str(folder), None, "cpu", RESOLUTION)
    assert base.vocabulary.dtype == torch.bfloat16
    assert initializer_row(base, "dog").dtype == torch.float32
    rows = learn(base, tmp_path, num_vectors=1)
    state = torch.load(tmp_path / "fox.pt", weights_only=True)
    kinds = {value.dtype for value in (rows, state["rows"], state["average"], *state["optimizer"]["state"][0].values())}
    assert kinds == {torch.float32}
    assert not torch.equal(rows, rows.bfloat16().float())
    continued = base.vocabulary[:1]  # the rows that another concept was learned with in an earlier release
    word = new_training(base, "b", "<b>", continued, "object", ("a {}",), latents_of(base), 1, 2, 5e-2, 3, (0.0, 1.0), average_last=0.0, seed=0)
    assert word.trainable.rows.dtype == torch.float32


def test_a_word_changes_its_prompt_and_no_other(family_base: BaseModel) -> None:
    rows = initializer_row(family_base, "dog")[None]
    before, after = (encode_prompts(family_base, PROMPTS, {"<fox>": value}) for value in (rows, 2 * rows))
    assert not torch.allclose(before.hidden[0], after.hidden[0], atol=1e-3)
    torch.testing.assert_close(before.hidden[1], after.hidden[1])
    if before.pooled is not None and after.pooled is not None:
        assert not torch.allclose(before.pooled[0], after.pooled[0], atol=1e-3)


def test_a_pooled_prompt_does_not_end_at_the_new_training(tmp_path: Path) -> None:
    folders = [save_tiny_pipeline(tmp_path / name, family="sdxl") for name in ("new", "old")]
    config = folders[1] / "text_encoder_2" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"eos_token_id": 2}))  # as Stability's is
    prompts, pooled = ["a photo of a <fox>", "a photo of a <fox> and a cat"], []
    for folder in folders:
        base = load_base_model.__wrapped__(str(folder), None, "cpu")
        rows = initializer_row(base, "dog")[None]
        pooled.append(encode_prompts(base, prompts, {"<fox>": rows}).pooled)
        file = tmp_path / "word.safetensors"
        file.write_bytes(embedding_file("fox", rows, RECORD, base.parts, base.architecture))
        pipeline = plain_pipeline(folder)
        write = registered_model.teach(pipeline, str(file), "<fox>")
        pooled.append(torch.cat([pipeline.encode_prompt(write(prompt), do_classifier_free_guidance=False)[2] for prompt in prompts]))
    assert not torch.allclose(pooled[0][0], pooled[0][1], atol=1e-3)
    for other in pooled[1:]:
        torch.testing.assert_close(other, pooled[0], atol=1e-5, rtol=1e-4)


def test_a_word_of_another_width_is_refused(family_base: BaseModel) -> None:
    width = sum(family_base.widths)
    with pytest.raises(ValueError, match=rf"<fox> has vectors of {width + 1} values, those of .* have {width}; learn it on this base model"):
        encode_prompts(family_base, PROMPTS, {"<fox>": torch.zeros(1, width + 1)})


def test_the_architecture_is_modelspecs(tmp_path: Path) -> None:
    wide = load_base_model.__wrapped__(str(save_tiny_pipeline(tmp_path / "sd2-wide", family="sd2-wide")), None, "cpu")
    assert wide.architecture == "stable-diffusion-v2-768-v"


def test_another_family_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "PixArtAlphaPipeline", "_diffusers_version": "0.42.1"}')
    with pytest.raises(ValueError, match=r"is a PixArtAlphaPipeline; base\.model in params\.yaml takes a StableDiffusionPipeline, a "):
        base_resolution(str(tmp_path), None)


@pytest.mark.parametrize("family", ["flux-dev", "z-image"])
def test_configs_that_name_no_resolution_are_refused_with_the_remedy(tmp_path: Path, family: str) -> None:
    folder = save_tiny_pipeline(tmp_path, family=family)
    config = json.loads((folder / "vae/config.json").read_text())
    (folder / "vae/config.json").write_text(json.dumps({key: value for key, value in config.items() if key != "sample_size"}))
    with pytest.raises(ValueError, match=r"do not say how large its pictures are; set base\.resolution in px"):
        base_resolution(str(folder), None)
    assert base_resolution(str(folder), None, RESOLUTION) == RESOLUTION


def test_a_folder_of_pickles_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "LDMTextToImagePipeline", "_diffusers_version": "0.42.1"}')
    with pytest.raises(ValueError, match=r"no weights in safetensors; write it once with .*save_pretrained"):
        load_base_model.__wrapped__(str(tmp_path), None, "cpu")


def test_a_word_is_as_long_as_the_vocabularys_rows(family_base: BaseModel) -> None:
    start, typical = initializer_row(family_base, "dog"), vocabulary_norm(family_base)
    assert 0.5 < float(start.norm()) / typical < 2


@pytest.mark.parametrize(
    "name", ["StableDiffusionPipeline", "StableDiffusionXLPipeline", "StableDiffusion3Pipeline", "FluxPipeline", "ZImagePipeline"]
)
def test_a_model_is_sampled_as_by_diffusers_unless_the_settings_say_how(name: str) -> None:
    asked = inspect.signature(getattr(diffusers, name).__call__).parameters
    own = FAMILIES[name].look({"guidance_embeds": True})
    counted_from = 1 if name == "ZImagePipeline" else 0
    assert own == (asked["num_inference_steps"].default, asked["guidance_scale"].default + counted_from)
    rules = load_settings(ROOT / "params.yaml").sample
    assert rules.look(own) == (25, 4.0)
    assert rules.model_copy(update={"num_inference_steps": None, "guidance_scale": None}).look(own) == own


def test_a_model_of_few_steps_without_guidance_keeps_them() -> None:
    assert FAMILIES["FluxPipeline"].look({"guidance_embeds": False}) == (4, 1.0)
