"""Every method on every family: what it learns is written, read and drawn by what MLflow loads, and by plain pipelines, as wordmint draws it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tasks.diffusion.base_model import BaseModel
from tasks.diffusion.changes import merge
from tasks.diffusion.ddim import generate
from tasks.diffusion.words import encode_prompts
from tasks.inversion.loop import train
from tasks.inversion.methods import METHODS
from tasks.registry import registered_adapter, registered_model
from tasks.words.embedding_file import ADAPTERS, EMBEDDING
from tasks.words.learned import Learned, read_learned, taught
from tests.support.tiny import FLOWS, RESOLUTION, plain_pipeline
from tests.support.words import SETTINGS, make

PROMPTS = ["a photo of a <fox>", "a cat on the moon"]
UNETS, TRANSFORMERS = ("sd1", "sd2", "sdxl", "ldm"), ("sd35", "flux-dev", "z-image")
KINDS = ("textual_inversion", "progressive", "lora", "dreambooth", "extended", "perfusion")  # what other methods learn looks the same
CASES = [
    *((family, name) for family in UNETS for name in METHODS),
    *((family, name) for family in TRANSFORMERS for name in KINDS),
    *((family, "lora") for family in FLOWS if family not in TRANSFORMERS),
]
STRONG: dict[str, dict[str, Any]] = {  # so that a change that is lost shows in a picture
    "lora": {"layers": "convolutions", "learning_rate": 0.3},
    "perfusion": {"learning_rate": 3.0},
}


def learn(base: BaseModel, name: str, folder: Path) -> tuple[Learned, Path]:
    """Train a word, write its files and read them again."""
    word = make(base, name, options=SETTINGS.get(name, {}) | STRONG.get(name, {}))
    if name == "dreambooth":
        for group in word.trainable.optimizer.param_groups:
            group["lr"] = 0.02
    (ended,) = train(base, [word], {word.concept: folder / "word.pt"}, 100)
    assert ended.result is not None, ended.error
    record = {"settings": {"placeholder_token": "<fox>", "initializer_token": "dog"}, "base": {}, "data_sha256": "", "versions": {}}
    for file, content in ended.result.on_the_cpu().files("fox", record, base).items():
        (folder / file).write_bytes(content)
    return read_learned(folder / EMBEDDING), folder / EMBEDDING


def differ(ours: Image.Image, theirs: Image.Image) -> int:
    """The largest difference of two pictures in grey levels."""
    return int(np.abs(np.asarray(ours, dtype=int) - np.asarray(theirs, dtype=int)).max())


def draw(pipeline: Any, base: BaseModel, prompt: str, seed: int) -> Image.Image:
    pipeline.set_progress_bar_config(disable=True)
    side = RESOLUTION if "vae" in pipeline.components else 8 * base.latent_shape[1]
    look = {"generator": torch.Generator().manual_seed(seed), **registered_model.as_called(pipeline, 6.0, side)}
    return pipeline([prompt], num_inference_steps=4, **look).images[0]


@pytest.mark.parametrize(("family_folder", "name"), CASES, indirect=["family_folder"])
def test_a_version_draws_what_wordmint_draws(family_folder: Path, family_base: BaseModel, tmp_path: Path, name: str) -> None:
    if name in ("extended", "perfusion") and not family_base.layers("cross_attention"):
        with pytest.raises(ValueError, match=f"invert.method {name} .* cross-attention.*has none"):
            learn(family_base, name, tmp_path)
        return
    concept, embedding = learn(family_base, name, tmp_path)
    with taught(family_base, [concept]) as words:
        ours = list(generate(family_base, PROMPTS, [0, 1], words, num_inference_steps=4, guidance_scale=6.0, batch_size=1))
    bare = list(generate(family_base, PROMPTS, [0, 1], {"<fox>": concept.rows}, num_inference_steps=4, guidance_scale=6.0, batch_size=1))
    assert differ(ours[1], bare[1]) == 0  # a prompt without the word is the base model's
    assert (differ(ours[0], bare[0]) > 3) == bool(concept.adapter)

    pipeline = plain_pipeline(family_folder)
    write = registered_model.teach(pipeline, str(embedding), "<fox>")
    adapter_file = next((tmp_path / file for file in ADAPTERS.values() if (tmp_path / file).exists()), None)
    adapter = registered_adapter.Adapter(registered_adapter.denoiser_of(pipeline), load_file(adapter_file)) if adapter_file else None
    registered_adapter.extend(pipeline, str(embedding), "<fox>")
    model = registered_model.Concept()
    model.pipeline, model.names = pipeline, ["<fox>", *(f"<fox>_{number}" for number in range(1, len(concept.rows)))]
    for seed, (prompt, picture) in enumerate(zip(PROMPTS, ours, strict=True)):
        text = write(prompt)
        if adapter:
            adapter.alternates, adapter.passes = "true_cfg_scale" in registered_model.as_called(pipeline, 6.0, None), 0
            adapter.tokens = model.tokens_of(text)
            adapter.strength = float(any(adapter.tokens))
        assert differ(draw(pipeline, family_base, text, seed), picture) <= 2, prompt


@pytest.mark.parametrize(("family_folder", "name"), [case for case in CASES if case[1] in ("lora", "dreambooth")], indirect=["family_folder"])
def test_a_plain_pipeline_predicts_what_wordmint_predicts_on_the_whole_picture(
    family_folder: Path, family_base: BaseModel, tmp_path: Path, name: str
) -> None:
    concept, _ = learn(family_base, name, tmp_path)
    latents = torch.randn(1, *family_base.latent_shape, generator=torch.Generator().manual_seed(5))
    with torch.no_grad(), taught(family_base, [concept]) as words:
        condition = encode_prompts(family_base, PROMPTS[:1], words)
        assert condition.strengths is not None
        plain = family_base.denoise(latents, 500, condition._replace(strengths=None))
        ours = family_base.denoise(latents, 500, condition._replace(strengths=condition.strengths.amax(dim=2, keepdim=True)))
    denoiser = registered_adapter.denoiser_of(plain_pipeline(family_folder))
    if name == "lora":
        denoiser.load_lora_adapter(load_file(tmp_path / ADAPTERS["lora"]), prefix=family_base.family.denoiser)
    else:
        for layer, change in concept.adapter.items():
            merge(denoiser.get_submodule(layer), change)
    with torch.no_grad():
        theirs = family_base.family.denoise(replace(family_base, denoiser=denoiser), latents, 500, condition)
    assert (theirs - plain).abs().max() > 1e-2
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)
