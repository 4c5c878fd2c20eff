"""A catalog moves to a base model of another family by one line of params.yaml, and is built, published and drawn from."""

import io
from pathlib import Path

import mlflow
import pytest
from PIL import Image

from flows.build_catalog import build_catalog
from tasks import artifacts
from tasks.registry import lifecycle
from tasks.settings import load_settings
from tasks.using.imagine import imagine_pictures
from tests.support.catalogs import edit_params
from tests.support.tiny import FLOWS, RESOLUTION, save_tiny_pipeline

pytestmark = pytest.mark.slow
LORA = {"word": "norm_held", "layers": "convolutions", "rank": 2, "learning_rate": 1.0e-3, "steps": 2}


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl", "ldm", "sd3", "sd35", "flux-dev", "flux-schnell", "z-image"])
def test_one_line_changes_the_family(catalog: Path, family: str) -> None:
    asked = RESOLUTION if family in ("sd1", "flux-dev") else None  # of the others it is read from the model's configs
    edit_params(
        base={"model": str(save_tiny_pipeline(Path(f"data/base/{family}"), family=family)), "resolution": asked},
        invert={"method": "lora", "options": LORA, "max_train_steps": 2},
        sample={"num_inference_steps": None, "guidance_scale": None} if family == "flux-schnell" else {},
    )
    outcome = build_catalog()
    assert not outcome.failed and "invert" in outcome.ran["fox"] and "register" in outcome.ran["fox"]
    samples = artifacts.read_json(artifacts.samples_record("fox"))
    sampler = "Euler" if family in FLOWS else "DDIM"
    assert samples.get("sampler", "DDIM") == sampler
    if family == "flux-schnell":  # the model's own, since the settings have none
        assert (samples["num_inference_steps"], samples["guidance_scale"]) == (4, 1.0)
    registered = artifacts.read_json(artifacts.registered("fox"))
    if "champion" not in registered["aliases"]:
        lifecycle.promote("fox", registered["version"], accept="the test needs it")
    (picture,) = imagine_pictures("a photo of a <fox> and a cat", [0], load_settings())
    assert picture.size == (RESOLUTION, RESOLUTION)
    model = mlflow.pyfunc.load_model(f"models:/{registered['name']}/{registered['version']}")
    assert (model.model_config.get("resolution"), model.model_config["sampler"]) == (asked, sampler.lower())
    (png,) = model.predict(["a photo of a <fox>"], params={"num_inference_steps": 2})
    side = RESOLUTION // 4 if family == "ldm" else RESOLUTION  # diffusers' LDM pipeline takes 8 px a latent for granted; the tiny model has 2
    assert Image.open(io.BytesIO(png)).size == (side, side)
