"""What the judge of fidelity learns from, and that what it learned loads as any model of transformers does."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from tasks.pretraining.eye import DRAWINGS, EYE_SIZE, VIEWS, bent, changed, erased, eye_loss, save_eye, train_eye
from tasks.pretraining.sprites import recoloured
from tasks.similarity.eye import load_eye


def disc() -> Image.Image:
    sprite = Image.new("RGBA", (64, 64))
    ImageDraw.Draw(sprite).ellipse([8, 8, 56, 56], fill=(200, 60, 20, 255))
    return sprite


def opaque(sprite: Image.Image) -> np.ndarray:
    return np.asarray(sprite.getchannel("A")) > 128


def test_an_erased_drawing_lacks_a_part_and_gains_none() -> None:
    whole = opaque(disc())
    for seed in range(20):
        left = opaque(erased(np.random.default_rng(seed), disc()))
        assert not (left & ~whole).any() and 0.2 < left.sum() / whole.sum() < 0.98


def test_a_bent_drawing_has_another_outline() -> None:
    whole = opaque(disc())
    for seed in range(20):
        assert (opaque(bent(np.random.default_rng(seed), disc())) ^ whole).sum() / whole.sum() > 0.05


def test_a_changed_drawing_is_not_the_drawing() -> None:
    before, other = np.asarray(disc().convert("RGBa"), dtype=int), recoloured(disc(), 120)
    for seed in range(30):
        after = changed(np.random.default_rng(seed), disc(), other)
        assert np.abs(np.asarray(after.convert("RGBa"), dtype=int) - before).max() > 15


def pool(groups: int) -> np.ndarray:
    """Return pictures in which every drawing has a colour of its own."""
    colours = np.random.default_rng(0).integers(0, 256, (groups, DRAWINGS, 1, 1, 1, 3), dtype=np.uint8)
    return np.broadcast_to(colours, (groups, DRAWINGS, VIEWS, 64, 64, 3)).copy()


def test_a_training_tells_drawings_apart_and_its_folder_loads(tmp_path: Path) -> None:
    pictures = pool(4)
    model = train_eye(pictures, tmp_path / "work", max_train_steps=12, groups=4)
    save_eye(model, tmp_path / "eye")
    eye = load_eye(str(tmp_path / "eye"), None, "cpu")
    features = eye.image_features([Image.fromarray(pictures[0, 0, 0])] * 2)
    assert features.shape == (2, 224) and torch.allclose(features[0], features[1])
    assert torch.allclose(features.norm(dim=1), torch.ones(2), atol=1e-5)
    assert eye.processor(Image.fromarray(pictures[0, 0, 0]), return_tensors="pt").pixel_values.shape == (1, 3, EYE_SIZE, EYE_SIZE)


def test_the_loss_is_low_where_two_views_of_a_drawing_agree() -> None:
    class Answer(torch.nn.Module):
        """Return given features instead of those of pictures."""

        def __init__(self, features: torch.Tensor) -> None:
            super().__init__()
            self.pooler_output = features

        def forward(self, pixels: torch.Tensor) -> "Answer":
            return self

    count, loss = 4 * DRAWINGS, eye_loss(pool(4), groups=4)
    apart = torch.eye(count)
    draws = np.random.default_rng(0), torch.Generator().manual_seed(0)
    right, wrong = loss(Answer(torch.cat([apart, apart])), *draws), loss(Answer(torch.cat([apart, apart.roll(1, 0)])), *draws)
    assert right < 0.01 < 5 < wrong
