"""What a stranger adds in a file of their own works as what comes with wordmint does."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from flows.build_catalog import build_catalog
from tasks import artifacts
from tasks.diffusion.base_model import load_base_model
from tasks.diffusion.words import initializer_row
from tasks.settings import load_settings
from tasks.words.learned import read_learned
from tests.support.catalogs import edit_params

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
