"""An encoder of pictures: its words, its file, and the files that are refused."""

from pathlib import Path

import pytest
import torch

from tasks.diffusion.base_model import BaseModel, load_base_model
from tasks.inversion.encoder import ENCODER, PictureEncoder, encoder_bytes, encoder_file, load_encoder, new_encoder
from tests.support.tiny import save_tiny_pipeline
from tests.support.words import random_encoder


def latents(base: BaseModel, *sizes: int) -> torch.Tensor:
    return torch.randn(*sizes, *base.latent_shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("family", ["sd1", "sdxl", "sd3", "flux-dev", "z-image"])
def test_a_word_has_the_mean_norm_of_each_vocabulary(tmp_path: Path, family: str) -> None:
    base = load_base_model.__wrapped__(str(save_tiny_pipeline(tmp_path, family=family)), None, "cpu")
    encoder = random_encoder(base)
    for rows in (encoder(latents(base, 3)), encoder.word(latents(base, 3))[None], encoder.word(latents(base, 2, 3))):
        for part, owner in zip(rows.split(base.widths, dim=1), base.text_encoders, strict=True):
            torch.testing.assert_close(part.norm(dim=1), owner.table.weight.norm(dim=1).mean().expand(len(rows)))


def test_the_word_of_pictures_is_the_mean_of_their_rows(base: BaseModel) -> None:
    encoder, pictures = random_encoder(base), latents(base, 3)
    word, rows = encoder.word(pictures), encoder(pictures)
    assert torch.cosine_similarity(word, rows.mean(dim=0), dim=0) > 0.9999
    torch.testing.assert_close(encoder.word(pictures[:1]), rows[0])
    torch.testing.assert_close(encoder.word(torch.stack([pictures, pictures.flip(0)])), torch.stack([word, word]))


@pytest.mark.parametrize("shape", [(4, 16, 16), (4, 24, 24), (4, 64, 64), (16, 128, 128)])
def test_a_picture_of_any_size_is_read(shape: tuple[int, int, int]) -> None:
    assert PictureEncoder(shape, [0.4, 0.7], [768, 1280])(torch.zeros(1, *shape)).shape == (1, 2048)


def test_the_shipped_encoder_is_small_and_of_the_shipped_base() -> None:
    base = load_base_model.__wrapped__("emoji-ldm", None, "cpu")
    assert load_encoder("emoji-encoder", base).word(torch.zeros(2, *base.latent_shape)).shape == (sum(base.widths),)
    assert encoder_file("emoji-encoder").stat().st_size <= 4e6


def test_a_file_keeps_the_encoder(base: BaseModel, tmp_path: Path) -> None:
    encoder = random_encoder(base)
    (tmp_path / ENCODER).write_bytes(encoder_bytes(encoder, base, "foxes"))
    loaded = load_encoder(str(tmp_path), base)
    assert not loaded.training and not any(parameter.requires_grad for parameter in loaded.parameters())
    torch.testing.assert_close(loaded.word(latents(base, 3)), encoder.word(latents(base, 3)), atol=1e-3, rtol=1e-2)
    again = tmp_path / "again.safetensors"
    again.write_bytes(encoder_bytes(loaded, base, "foxes"))
    assert again.read_bytes() == (tmp_path / ENCODER).read_bytes()
    torch.testing.assert_close(load_encoder(str(again), base).word(latents(base, 3)), loaded.word(latents(base, 3)))


def test_a_file_that_cannot_be_used_is_refused(base: BaseModel, tmp_path: Path) -> None:
    file, other = tmp_path / ENCODER, load_base_model.__wrapped__(str(save_tiny_pipeline(tmp_path / "other", seed=1)), None, "cpu")
    with pytest.raises(ValueError, match=r"base\.encoder is .*, but there is no .*encoder\.safetensors; restore it"):
        load_encoder(str(tmp_path), base)
    file.write_bytes(encoder_bytes(new_encoder(other), other, "foxes"))
    ours, theirs = (str(model.identity["weights_sha256"])[:12] for model in (base, other))
    with pytest.raises(ValueError, match=rf"is an encoder of base weights {theirs}, and base\.model has {ours}; set base\.encoder"):
        load_encoder(str(tmp_path), base)
    file.write_bytes(encoder_bytes(new_encoder(base), base, "foxes")[:-10])
    with pytest.raises(ValueError, match=r"encoder\.safetensors is damaged \(.*\); restore it, or train an encoder"):
        load_encoder(str(tmp_path), base)
    encoder = new_encoder(base)
    encoder.layers[0] = torch.nn.Conv2d(4, 8, 3)
    file.write_bytes(encoder_bytes(encoder, base, "foxes"))
    with pytest.raises(ValueError, match=r"lacks layers of an encoder of this wordmint; restore it"):
        load_encoder(str(tmp_path), base)
