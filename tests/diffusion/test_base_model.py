"""Loading a base model: its resolution, its identity and its frozen state."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from tasks.diffusion import base_model
from tasks.diffusion.base_model import BaseModel, base_resolution, float_types, load_base_model
from tasks.diffusion.ddim import decode, encode, generate
from tasks.diffusion.families import flux, parts, stable_diffusion
from tasks.diffusion.memory import weights_bytes
from tasks.registry import registered_model
from tests.support.tiny import RESOLUTION, save_tiny_pipeline


def test_base_resolution_is_the_side_of_the_pictures(base: BaseModel, tiny_base_folder: Path) -> None:
    picture = decode(base, torch.zeros(1, *base.latent_shape))[0]
    assert base_resolution(str(tiny_base_folder), None) == RESOLUTION == picture.width == picture.height


def test_latents_of_a_picture_have_the_shape_of_the_model(base: BaseModel) -> None:
    mean, std = encode(base, [Image.new("RGB", (RESOLUTION, RESOLUTION), "red")] * 2)
    assert mean.shape == std.shape == (2, *base.latent_shape)


def test_encode_is_the_autoencoders_own_posterior(base: BaseModel) -> None:
    pixels = torch.randint(256, (RESOLUTION, RESOLUTION, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    mean, std = encode(base, [Image.fromarray(pixels.numpy())])
    posterior = base.vae.encode(pixels.permute(2, 0, 1)[None] / 255 * 2 - 1).latent_dist
    torch.testing.assert_close(mean, posterior.mean * base.vae.config.scaling_factor, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(std, posterior.std * base.vae.config.scaling_factor, atol=1e-5, rtol=1e-4)


def test_an_autoencoders_shift_is_taken_off_and_put_back(tmp_path: Path) -> None:
    shifted = load_base_model.__wrapped__(str(save_tiny_pipeline(tmp_path, family="sd3")), None, "cpu")
    picture = Image.effect_noise((RESOLUTION, RESOLUTION), 80).convert("RGB")
    mean, _ = encode(shifted, [picture])
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(1, RESOLUTION, RESOLUTION, 3).permute(0, 3, 1, 2) / 127.5 - 1
    own = shifted.vae.encode(pixels).latent_dist.mean
    torch.testing.assert_close(mean, (own - 0.06) * 1.5, atol=1e-5, rtol=1e-4)
    expected = (shifted.vae.decode(own).sample / 2 + 0.5).clamp(0, 1).mul(255).round().byte()[0].permute(1, 2, 0)
    assert abs(torch.frombuffer(bytearray(decode(shifted, mean)[0].tobytes()), dtype=torch.uint8).view_as(expected).int() - expected.int()).max() <= 1


@pytest.mark.parametrize(
    ("asked", "message"), [(18, "needs a multiple of 4; take 16"), (2, "needs a multiple of 4; take 4"), (64, "allows at most 32; lower it")]
)
def test_a_resolution_that_a_model_cannot_draw_is_refused(tmp_path: Path, asked: int, message: str) -> None:
    folder = str(save_tiny_pipeline(tmp_path, family="sd3"))
    for refused in (lambda: base_resolution(folder, None, asked), lambda: load_base_model.__wrapped__(folder, None, "cpu", asked)):
        with pytest.raises(ValueError, match=rf"base.resolution is {asked} px, but this base model {message}"):
            refused()


def test_another_resolution_is_drawn_and_is_part_of_the_identity(tmp_path: Path) -> None:
    larger = load_base_model.__wrapped__(str(save_tiny_pipeline(tmp_path, family="sd3")), None, "cpu", 24)
    (picture,) = generate(larger, ["a cat"], [0], {}, num_inference_steps=2, guidance_scale=2.0, batch_size=1)
    assert picture.size == (24, 24) and larger.identity["resolution"] == 24


def test_a_gpu_has_large_parts_in_bfloat16_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_model, "fast_bfloat16", lambda device: True)
    gpu = torch.device("cuda")
    assert float_types(stable_diffusion.FAMILY, gpu) == {"unet": torch.bfloat16}
    kinds = float_types(flux.FAMILY, gpu)
    assert set(kinds) == {"transformer", "text_encoder_2"} and float_types(flux.FAMILY, torch.device("cpu")) == {}
    pipeline = parts.load_pipeline(save_tiny_pipeline(tmp_path, family="flux-dev"), kinds)
    assert (pipeline.transformer.dtype, pipeline.text_encoder_2.dtype) == (torch.bfloat16, torch.bfloat16)
    assert (pipeline.vae.dtype, pipeline.text_encoder.dtype) == (torch.float32, torch.float32)


def test_every_part_is_frozen_and_in_evaluation_mode(base: BaseModel) -> None:
    for part in (base.text_encoders[0].model, base.vae, base.denoiser):
        assert not part.training
        assert not any(parameter.requires_grad for parameter in part.parameters())


def test_wrong_revision_is_refused_with_both_hashes(base: BaseModel, tiny_base_folder: Path) -> None:
    weights = base.identity["weights_sha256"]
    assert weights
    with pytest.raises(ValueError, match=r"base\.revision") as refused:
        load_base_model(str(tiny_base_folder), "0123456789ab", "cpu")
    assert "0123456789ab" in str(refused.value)
    assert weights[:12] in str(refused.value)


def test_right_revision_is_part_of_the_identity(base: BaseModel, tiny_base_folder: Path) -> None:
    weights = base_model.weights_sha256(tiny_base_folder)
    loaded = load_base_model.__wrapped__(str(tiny_base_folder), weights[:8], "cpu")  # past the cache, which holds `base` for the next tests
    assert loaded.identity == {"model": str(tiny_base_folder), "revision": weights[:8], "weights_sha256": weights}


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_zero_terminal_noise_wants_a_model_that_predicts_v(tiny_base_folder: Path, tmp_path: Path, prediction_type: str) -> None:
    shutil.copytree(tiny_base_folder, tmp_path / "base")
    config = tmp_path / "base/scheduler/scheduler_config.json"
    noise = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "prediction_type": prediction_type}
    config.write_text(json.dumps(json.loads(config.read_text()) | noise))
    if prediction_type == "epsilon":
        with pytest.raises(ValueError, match="predicts epsilon at zero terminal SNR"):
            load_base_model.__wrapped__(str(tmp_path / "base"), None, "cpu")
    else:
        base = load_base_model.__wrapped__(str(tmp_path / "base"), None, "cpu")
        (picture,) = generate(base, ["a cat"], [0], {}, num_inference_steps=4, guidance_scale=2.0, batch_size=1)
        assert picture.getextrema() != ((0, 0),) * 3  # NaN would be black


def test_the_registered_file_hashes_weights_as_we_do(tiny_base_folder: Path, tmp_path: Path) -> None:
    # The registered file may import nothing of ours, so there are two copies; names that sort differently as paths and as text tell them apart.
    for name in ("a/z.safetensors", "a-b/y.safetensors", "a.safetensors", "B/x.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "ignored.bin").write_bytes(b"other")
    hashes = [base_model.weights_sha256(folder) for folder in (tiny_base_folder, tmp_path)]
    assert hashes == [registered_model.weights_sha256(folder) for folder in (tiny_base_folder, tmp_path)]
    (tmp_path / "B/x.safetensors").write_bytes(b"changed")
    assert base_model.weights_sha256(tmp_path) != hashes[1]


def test_what_else_lies_in_the_hubs_cache_is_no_part_of_a_models_identity(tiny_base_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_base_folder, tmp_path / "base")
    clean, weights = base_model.weights_sha256(folder), folder / "unet" / "diffusion_pytorch_model.safetensors"
    files = sorted(folder.rglob("*.safetensors"), key=lambda path: path.relative_to(folder).as_posix())
    assert clean == hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    assert (size := weights_bytes(folder, stable_diffusion.FAMILY, "full")) > 0
    (folder / "vae_1_0").mkdir()
    variants = [f"unet/diffusion_pytorch_model.{kind}.safetensors" for kind in ("fp16", "non_ema", "bf16-00001-of-00002")]
    for name in (*variants, "sd_xl_base_1.0.safetensors", "whole.safetensors", "vae_1_0/diffusion_pytorch_model.safetensors"):
        shutil.copy(weights, folder / name)
    assert base_model.weights_sha256(folder) == registered_model.weights_sha256(folder) == clean
    assert weights_bytes(folder, stable_diffusion.FAMILY, "full") == size
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert base_model.weights_sha256(folder) == registered_model.weights_sha256(folder) != clean
