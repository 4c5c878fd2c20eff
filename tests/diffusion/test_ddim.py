"""DDIM against diffusers' scheduler and pipeline, and what must hold of any sampler of ours."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from PIL import Image
from torch import Tensor

from tasks.diffusion import ddim
from tasks.diffusion.base_model import BaseModel, load_base_model
from tasks.diffusion.ddim import LOOKS, ddim_sample, decode, even_parts, generate, guided, initial_noise
from tasks.diffusion.families.parts import Condition
from tasks.diffusion.noise.ddpm import ddim_step
from tasks.diffusion.words import encode_prompts, unconditional
from tests.support.tiny import save_tiny_pipeline

PROMPT = "a painting of a fox on the moon"
ROOT = Path(__file__).parents[2]
GUIDANCE = 40.0  # far above what a trained model takes: the random one hardly listens to its text


@pytest.fixture(scope="module")
def pipeline(tiny_base_folder: Path) -> StableDiffusionPipeline:
    loaded = StableDiffusionPipeline.from_pretrained(tiny_base_folder, safety_checker=None, requires_safety_checker=False)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def sample_latents(base: BaseModel, seeds: list[int], prompts: list[str], guidance_scale: float, num_inference_steps: int = 5) -> Tensor:
    return ddim_sample(base, initial_noise(base, seeds), encode_prompts(base, prompts), unconditional(base), num_inference_steps, guidance_scale)


def invented_prediction(latents: Tensor, t: int) -> Tensor:
    """A prediction that depends on its input and its time, and on no network."""
    return torch.sin(3 * latents + t / 100)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize(("prediction_type", "zero_snr"), [("epsilon", False), ("v_prediction", False), ("v_prediction", True)])
@pytest.mark.parametrize("to_one", [True, False])
def test_a_trajectory_is_the_schedulers(
    base: BaseModel, spacing: str, prediction_type: str, zero_snr: bool, to_one: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {**base.noise_scheduler.config, "timestep_spacing": spacing, "prediction_type": prediction_type, "set_alpha_to_one": to_one}
    config["rescale_betas_zero_snr"] = zero_snr
    reference, ours = DDIMScheduler.from_config(config), DDIMScheduler.from_config(config)
    noise, hidden = initial_noise(base, [0, 1]), torch.zeros(2, 1, 1)
    reference.set_timesteps(7)
    expected = noise
    for t in reference.timesteps.tolist():
        expected = reference.step(invented_prediction(expected, t), t, expected, eta=0.0).prev_sample

    monkeypatch.setattr(BaseModel, "denoise", lambda self, latents, t, condition: invented_prediction(latents, t))
    latents = ddim_sample(replace(base, noise_scheduler=ours), noise, Condition(hidden), Condition(hidden[:1]), 7, 1.0)
    torch.testing.assert_close(latents, expected, atol=1e-4, rtol=1e-4)


def test_a_step_to_its_own_noise_level_changes_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    x_t, eps = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 4, 8, 8, generator=generator)
    torch.testing.assert_close(ddim_step(x_t, eps, torch.tensor(0.4), torch.tensor(0.4)), x_t)


def test_a_step_with_the_true_noise_to_the_end_is_the_picture() -> None:
    generator = torch.Generator().manual_seed(0)
    x_0, eps = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 4, 8, 8, generator=generator)
    x_t = 0.4**0.5 * x_0 + 0.6**0.5 * eps
    torch.testing.assert_close(ddim_step(x_t, eps, torch.tensor(0.4), torch.tensor(1.0)), x_0)


@pytest.mark.parametrize("guidance_scale", [1.0, 2.0, GUIDANCE])
def test_pictures_are_the_pipelines(base: BaseModel, pipeline: StableDiffusionPipeline, guidance_scale: float) -> None:
    noise = initial_noise(base, [3])
    expected = pipeline(PROMPT, latents=noise, guidance_scale=guidance_scale, num_inference_steps=5, output_type="latent").images
    latents = sample_latents(base, [3], [PROMPT], guidance_scale)
    torch.testing.assert_close(latents, expected, atol=1e-3, rtol=1e-3)
    picture = pipeline(PROMPT, latents=noise, guidance_scale=guidance_scale, num_inference_steps=5).images[0]
    difference = np.asarray(decode(base, latents)[0], dtype=int) - np.asarray(picture, dtype=int)
    assert np.abs(difference).max() <= 1  # grey levels: a rounding


def test_guidance_one_is_the_conditional_prediction(base: BaseModel) -> None:
    generator = torch.Generator().manual_seed(0)
    conditional, unconditional = torch.randn(2, 3, generator=generator), torch.randn(2, 3, generator=generator)
    torch.testing.assert_close(guided(conditional, unconditional, 1.0), conditional)
    assert torch.equal(guided(conditional, unconditional, 0.0), unconditional)
    # The shortcut of one pass and the formula with two agree, and the text matters at all.
    plain = sample_latents(base, [0], [PROMPT], 1.0)
    torch.testing.assert_close(sample_latents(base, [0], [PROMPT], 1.0 + 1e-6), plain, atol=1e-3, rtol=1e-3)
    assert (sample_latents(base, [0], [PROMPT], GUIDANCE) - plain).abs().max() > 0.1


def test_a_picture_does_not_depend_on_its_companions(base: BaseModel) -> None:
    prompts = [PROMPT, "a photo of a cat", "a pencil sketch of an apple"]
    together = sample_latents(base, [5, 6, 7], prompts, GUIDANCE)
    for index, seed in enumerate([5, 6, 7]):
        # Kernels choose their order of summation by the batch, so this holds to rounding and not to the bit.
        torch.testing.assert_close(together[index : index + 1], sample_latents(base, [seed], [prompts[index]], GUIDANCE), atol=1e-3, rtol=1e-3)


def test_bfloat16_draws_the_embedded_models_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    embedded = load_base_model.__wrapped__(str(ROOT / "data/base/emoji-ldm"), None, "cpu")

    def pictures() -> np.ndarray:
        return np.stack([np.asarray(picture, float) for picture in generate(embedded, [PROMPT, "a photo of a cat"] * 2, range(4), {}, 20, 4.0, 4)])

    plain, other = pictures(), np.abs(np.diff(pictures()[::2], axis=0)).mean()
    monkeypatch.setattr(ddim, "fast_bfloat16", lambda device: True)
    difference = np.abs(pictures() - plain).mean()
    assert 0 < difference <= 1  # grey levels
    assert other > 20  # another seed's picture of the same prompt


def test_a_batch_that_does_not_fit_is_drawn_in_halves(base: BaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def pictures() -> list[bytes]:
        return [picture.tobytes() for picture in generate(base, ["a cat", "a dog"] * 4, range(8), {}, 2, 3.0, 8)]

    def small_card(base: BaseModel, noise: Tensor, *rest: object) -> Tensor:
        if len(noise) > 1:
            raise torch.cuda.OutOfMemoryError
        return sample(base, noise, *rest)

    expected, sample = pictures(), ddim.ddim_sample
    monkeypatch.setattr(ddim, "ddim_sample", small_card)
    found = [np.frombuffer(picture, dtype=np.uint8).astype(int) for picture in pictures()]
    assert all(np.abs(one - np.frombuffer(other, dtype=np.uint8)).max() <= 1 for one, other in zip(found, expected, strict=True))
    monkeypatch.setattr(ddim, "ddim_sample", lambda *given: small_card(base, torch.cat([given[1]] * 2)))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        pictures()


def test_a_seed_is_a_picture(base: BaseModel) -> None:
    first, again, other = (decode(base, sample_latents(base, [seed], [PROMPT], GUIDANCE))[0].tobytes() for seed in (11, 11, 12))
    assert first == again
    assert first != other


def test_noise_of_a_seed_is_the_same_in_any_batch_and_ignores_the_global_generator(base: BaseModel) -> None:
    torch.manual_seed(1)
    alone = initial_noise(base, [42])
    torch.manual_seed(2)
    assert torch.equal(initial_noise(base, [41, 42])[1:], alone)


def test_decode_in_parts_is_decode_at_once(base: BaseModel) -> None:
    latents = initial_noise(base, [0, 1, 2])
    parts, whole = decode(base, latents, batch_size=2), decode(base, latents, batch_size=3)
    assert len(parts) == len(whole) == 3
    for part, picture in zip(parts, whole, strict=True):
        assert np.abs(np.asarray(part, dtype=int) - np.asarray(picture, dtype=int)).max() <= 1


@pytest.mark.parametrize(
    ("count", "most", "multiple", "sizes"),
    [(80, 64, 2, [40, 40]), (80, 32, 2, [20] * 4), (5, 2, 1, [1, 2, 2]), (1, 32, 2, [1]), (16, 1, 64, [1] * 16)],
)
def test_parts_are_even_and_keep_every_core_busy(count: int, most: int, multiple: int, sizes: list[int]) -> None:
    parts = even_parts(count, most, multiple)
    assert [part.stop - part.start for part in parts] == sizes
    assert [row for part in parts for row in range(count)[part]] == list(range(count))


@pytest.mark.parametrize("family", ["sd1", "sd2", "sd3"])
def test_looks_at_a_picture_come_nearer_to_it_and_change_nothing(tmp_path: Path, family: str) -> None:
    looked = load_base_model.__wrapped__(str(save_tiny_pipeline(tmp_path, family=family)), None, "cpu")
    looks = list[Image.Image]()
    asked = {"prompts": ["a cat"] * 2, "seeds": [0, 1], "learned": {}, "num_inference_steps": 8, "guidance_scale": 2.0, "batch_size": 1}
    pictures = list(generate(looked, **asked, watch=looks.append))
    assert [picture.tobytes() for picture in pictures] == [picture.tobytes() for picture in generate(looked, **asked)]
    away = [np.abs(np.asarray(look, dtype=int) - np.asarray(pictures[0], dtype=int)).mean() for look in looks]
    assert len(away) == LOOKS and away == sorted(away, reverse=True) and away[-1] < away[0]


def test_pictures_that_nobody_wants_any_more_are_not_drawn(base: BaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, sample = list[int](), ddim.ddim_sample

    def counted(base: BaseModel, noise: Tensor, *rest: object) -> Tensor:
        drawn.append(len(noise))
        return sample(base, noise, *rest)

    monkeypatch.setattr(ddim, "ddim_sample", counted)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    pictures = generate(base, ["a cat"] * 40, range(40), {}, 2, 3.0, 1)
    next(pictures)
    pictures.close()
    assert 1 <= sum(drawn) < 40
