"""What the autoencoder's two trainings must keep."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.pretraining.autoencoder import build_autoencoder, encode, psnr, train_autoencoder, train_decoder


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """Flat squares of four pixels, as pixel art has them: (16, 64, 64, 3) uint8."""
    squares = np.random.default_rng(0).integers(0, 256, (16, 16, 16, 3), dtype=np.uint8)
    return squares.repeat(4, axis=1).repeat(4, axis=2)


def test_the_decoder_trains_on_and_the_latents_stay(pictures: np.ndarray, tmp_path: Path) -> None:
    torch.manual_seed(0)
    autoencoder = build_autoencoder().eval()
    latents, before = encode(autoencoder, pictures), psnr(autoencoder, pictures)
    trained = train_decoder(autoencoder, pictures, tmp_path, max_train_steps=30)
    assert torch.equal(encode(trained, pictures), latents)
    assert psnr(trained, pictures) > before + 0.1


def test_a_finished_autoencoder_is_read_and_not_trained(pictures: np.ndarray, tmp_path: Path) -> None:
    trained = train_autoencoder(pictures, tmp_path, max_train_steps=2)
    again = train_autoencoder(np.empty(0), tmp_path, max_train_steps=2)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(again.state_dict().values(), trained.state_dict().values(), strict=True))
