"""Which models can judge fidelity."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import CLIPTextModel, ViTImageProcessor

from tasks.diffusion.base_model import weights_sha256
from tasks.similarity.eye import load_eye
from tests.support.catalogs import draw_picture
from tests.support.tiny import save_tiny_eye, tiny_text_config, tiny_tokenizer


@pytest.fixture
def dino(tmp_path: Path) -> Path:
    return save_tiny_eye(tmp_path / "dino")


def test_a_self_supervised_model_judges(dino: Path, tmp_path: Path) -> None:
    draw_picture(tmp_path / "1.png", 1)
    eye = load_eye(str(dino), weights_sha256(dino)[:12], "cpu")
    features = eye.image_features([Image.open(tmp_path / "1.png"), Image.new("L", (50, 70))])
    assert features.shape == (2, 32) and torch.allclose(features.norm(dim=1), torch.ones(2), atol=1e-5)
    assert eye.identity == {"model": str(dino), "weights_sha256": weights_sha256(dino)}


def test_other_weights_are_refused(dino: Path) -> None:
    with pytest.raises(ValueError, match=r"score\.fidelity\.revision is 0000, but the weights in .* are .*restore the folder or change params"):
        load_eye(str(dino), "0000", "cpu")


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"score\.fidelity\.model .* does not load .*name a folder or a hub id of an image model"):
        load_eye(str(tmp_path), None, "cpu")


def test_a_text_model_is_refused(tmp_path: Path, dino: Path) -> None:

    folder = tmp_path / "text"
    CLIPTextModel(tiny_text_config(tiny_tokenizer())).save_pretrained(folder)
    ViTImageProcessor.from_pretrained(dino).save_pretrained(folder)
    with pytest.raises(ValueError, match="gives no pooled features of a picture"):
        load_eye(str(folder), None, "cpu")
