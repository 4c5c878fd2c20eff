"""What a stranger adds in a file of their own works as what comes with wordmint does."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors import safe_open
from torch import Tensor

from flows.build_catalog import build_catalog
from tasks import artifacts
from tasks.diffusion.base_model import BaseModel, load_base_model
from tasks.diffusion.ddim import generate
from tasks.diffusion.families import FAMILIES, stable_diffusion
from tasks.diffusion.families.parts import Condition
from tasks.diffusion.words import encode_prompts, initializer_row
from tasks.inversion.loop import train
from tasks.settings import load_settings
from tasks.words.learned import read_learned
from tests.support.catalogs import edit_params
from tests.support.tiny import save_tiny_pipeline
from tests.support.words import make

pytestmark = pytest.mark.slow


def test_a_strangers_method_is_built_through_the_flow(catalog: Path) -> None:
    edit_params(invert={"method": "textual_inversion", "options": {}, "max_train_steps": 4, "average_last": 0.0})
    build_catalog()
    base = load_base_model("data/base/tiny", None, "cpu")
    start = initializer_row(base, "dog")
    plain = read_learned(artifacts.learned_embeds("fox")).rows[0]
    edit_params(invert={"method": "tests.support.stranger", "options": {"back": 0.9}})
    outcome = build_catalog()
    assert "invert" in outcome.ran["fox"]
    held = read_learned(artifacts.learned_embeds("fox")).rows[0]
    assert 0 < (held - start).norm() < 0.3 * (plain - start).norm()
    with safe_open(artifacts.learned_embeds("fox"), "pt") as file:
        assert json.loads(file.metadata()["settings"])["method"] == "tests.support.stranger"
    assert artifacts.read_json(artifacts.train_record("fox"))["method"] == "tests.support.stranger"
    assert torch.isfinite(held).all()
    edit_params(invert={"options": {"back": 2}})
    with pytest.raises(ValueError, match=r"back\n? .*less than 1|less than 1"):
        load_settings()


def test_a_strangers_family_learns_and_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A UNet whose pipeline has another class name, whose text is encoded in another way, and which nothing of wordmint knows."""
    folder = save_tiny_pipeline(tmp_path / "model")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": "StrangersPipeline"}))
    with pytest.raises(ValueError, match=r"is a StrangersPipeline; base\.model in params.yaml takes a StableDiffusionPipeline"):
        load_base_model.__wrapped__(str(folder), None, "cpu")

    def encode(base: BaseModel, ids: Sequence[Tensor]) -> Condition:
        return Condition(base.text_encoders[0].model(ids[0], output_hidden_states=True).hidden_states[-2])

    def load(place: Path, kinds: Mapping[str, torch.dtype]) -> StableDiffusionPipeline:
        return StableDiffusionPipeline.from_pretrained(place, safety_checker=None, requires_safety_checker=False)

    strange = replace(stable_diffusion.FAMILY, encode=encode, load=load, architecture=lambda base: "strange")
    monkeypatch.setitem(FAMILIES, "StrangersPipeline", strange)
    base = load_base_model.__wrapped__(str(folder), None, "cpu")
    assert (base.architecture, base.resolution) == ("strange", 16)
    word = make(base, "norm_held")
    (ended,) = train(base, [word], {word.concept: tmp_path / "word.pt"}, 100)
    assert ended.result is not None and not torch.equal(ended.result.rows[0], initializer_row(base, "dog"))
    known = encode_prompts(replace(base, family=stable_diffusion.FAMILY), ["a photo of a dog"]).hidden
    assert not torch.allclose(encode_prompts(base, ["a photo of a dog"]).hidden, known)
    (picture,) = generate(base, ["a photo of a <fox>"], [0], {"<fox>": ended.result.rows}, 2, 2.0, 1)
    assert picture.size == (16, 16)
