"""DDIM inversion and Blended Latent Diffusion, on every family with random weights and on the embedded model."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from tasks.diffusion import ddim_inversion
from tasks.diffusion.base_model import BaseModel, load_base_model
from tasks.diffusion.ddim import ddim_sample, decode, encode, initial_noise
from tasks.diffusion.ddim_inversion import ddim_invert
from tasks.diffusion.editing import blended, latent_mask, outside_kept
from tasks.diffusion.families.parts import Condition
from tasks.diffusion.noise.ddpm import ddim_step, step_back
from tasks.diffusion.words import encode_prompts, initializer_row, unconditional
from tasks.pretraining.scenes import paint_scene
from tasks.similarity.scorer import load_scorer
from tasks.using.edit import psnr
from tests.support.tiny import FLOWS, save_tiny_pipeline

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "data/remote/files/md5"  # the pictures of the shipped concepts, by content


@pytest.fixture(scope="module")
def embedded() -> BaseModel:
    return load_base_model.__wrapped__(str(ROOT / "data/base/emoji-ldm"), None, "cpu")


def shipped_pictures(resolution: int, count: int) -> list[Image.Image]:
    files = [path for path in sorted(SHIPPED.glob("*/*")) if path.read_bytes().startswith(b"\x89PNG")]
    return [Image.open(path).convert("RGB").resize((resolution, resolution), Image.Resampling.LANCZOS) for path in files[:count]]


def square_mask(side: int, start: float, end: float) -> Image.Image:
    mask = Image.new("L", (side, side))
    ImageDraw.Draw(mask).rectangle((start * side, start * side, end * side - 1, end * side - 1), fill=255)
    return mask


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl", "ldm", *FLOWS])
def test_every_family_leads_back_and_keeps_the_outside(family: str, tmp_path: Path) -> None:
    base = load_base_model.__wrapped__(str(save_tiny_pipeline(tmp_path / family, family=family)), None, "cpu")
    learned = {"<fox>": initializer_row(base, "dog")[None]}
    condition = encode_prompts(base, ["a photo of a <fox>"], learned)
    latents = initial_noise(base, [5])
    starts = torch.cat([ddim_invert(base, latents, condition, 25), initial_noise(base, [6])])
    errors = ddim_sample(base, starts, condition.repeat(2), unconditional(base), 25, 1.0).sub(latents).square().mean(dim=(1, 2, 3))
    assert errors[0] < errors[1] / 4  # the random model is far from smooth; see below for what a smooth one gives

    picture, mask = Image.new("RGB", (base.resolution, base.resolution), "red"), square_mask(base.resolution, 0.25, 0.75)
    (edited,) = blended(base, picture, mask, "a photo of a <fox>", [0], learned, 3, 4.0, 2)
    changed = np.asarray(edited) != np.asarray(picture)
    assert changed.any() and not changed[np.asarray(mask) == 0].any()


def round_trip_error(base: BaseModel) -> float:
    latents, condition = initial_noise(base, [1, 2]), Condition(torch.zeros(2, 1, 1))
    noise = ddim_invert(base, latents, condition, 50)
    assert (noise - latents).abs().mean() > 0.1
    return float((ddim_sample(base, noise, condition, condition.rows([0]), 50, 1.0) - latents).abs().max())


def test_every_step_is_undone(base: BaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BaseModel, "denoise", lambda self, latents, t, condition: torch.full_like(latents, t / 300).sin())
    assert round_trip_error(base) < 1e-3


@pytest.mark.parametrize(("prediction_type", "alpha_bar"), [("epsilon", 0.3), ("v_prediction", 0.3), ("v_prediction", 0.0)])
def test_a_step_is_undone_where_its_prediction_is_known(prediction_type: str, alpha_bar: float) -> None:
    generator = torch.Generator().manual_seed(0)
    start, prediction = (torch.randn(2, 4, 4, 4, generator=generator) for _ in range(2))
    levels = torch.tensor(alpha_bar), torch.tensor(0.4)
    x_t = step_back(start, prediction, *levels, prediction_type)
    torch.testing.assert_close(ddim_step(x_t, prediction, *levels, prediction_type), start)


def test_a_second_prediction_brings_a_step_nearer(base: BaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BaseModel, "denoise", lambda self, latents, t, condition: 0.3 * torch.sin(latents + t / 300))
    refined = round_trip_error(base)
    monkeypatch.setattr(ddim_inversion, "PREDICTIONS", 1)
    assert refined < round_trip_error(base) / 3


def test_a_thin_mask_is_not_lost(base: BaseModel) -> None:
    mask = Image.new("L", (base.resolution, base.resolution))
    mask.putpixel((5, 9), 255)
    found = latent_mask(base, mask)
    factor = base.resolution // base.latent_shape[1]
    assert found.shape == (1, 1, *base.latent_shape[1:])
    assert found.nonzero().tolist() == [[0, 0, 9 // factor, 5 // factor]]


def test_outside_the_latents_are_the_pictures_at_the_same_noise(base: BaseModel) -> None:
    generator = torch.Generator().manual_seed(0)
    picture, drawn, noise = (torch.randn(2, 4, 4, 4, generator=generator) for _ in range(3))
    edited = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    edited[..., :2] = True
    blend = outside_kept(base, picture[:1], edited)(drawn, noise, torch.tensor(0.36))
    assert torch.equal(blend[..., :2], drawn[..., :2])
    torch.testing.assert_close(blend[..., 2:], (0.6 * picture[:1] + 0.8 * noise)[..., 2:])


def test_the_embedded_model_gives_shipped_pictures_back(embedded: BaseModel) -> None:
    pictures = shipped_pictures(embedded.resolution, 2)
    latents, condition = encode(embedded, pictures)[0], encode_prompts(embedded, ["a photo of a toy"] * 2)
    noise = ddim_invert(embedded, latents, condition, 50)
    again = decode(embedded, ddim_sample(embedded, noise, condition, unconditional(embedded), 50, 1.0))
    for picture, own, back in zip(pictures, decode(embedded, latents), again, strict=True):
        assert psnr(back, picture) >= 0.9 * psnr(own, picture)


def test_an_edit_of_the_embedded_model_shows_the_thing_and_leaves_the_rest(embedded: BaseModel) -> None:
    picture, mask = paint_scene("beach", np.random.default_rng(0), embedded.resolution), square_mask(embedded.resolution, 0.2, 0.95)
    learned = {"<pet>": initializer_row(embedded, "cat")[None]}
    edits = list(blended(embedded, picture, mask, "a photo of a <pet> on the beach", [0, 1], learned, 25, 4.0, 2))
    for edit in edits:
        changed = np.asarray(edit) != np.asarray(picture)
        assert not changed[np.asarray(mask) == 0].any()  # an infinite PSNR, which no autoencoder exceeds
    scorer = load_scorer(f"local-dir:{ROOT / 'data/base/emoji-clip'}", None, "cpu")
    cats = scorer.image_features([picture, *edits]) @ scorer.text_features(["a picture of a cat", "a picture of a car", "a picture of a pizza"]).T
    assert (cats[1:, 0] > cats[0, 0] + 0.1).all()
    assert cats[1:].argmax(dim=1).tolist() == [0, 0]
