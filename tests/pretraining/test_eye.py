"""What the judge of fidelity learns from, and that what it learned loads as any model of transformers does."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw

from tasks.pretraining.autoencoder import to_tensor
from tasks.pretraining.eye import BY_ANOTHER_ARTIST, DRAWINGS, EYE_SIZE, VIEWS, bent, changed, contrast, erased, order, save_eye, spoilt, train_eye
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


def test_two_views_of_a_drawing_are_to_agree() -> None:
    apart = torch.eye(4 * DRAWINGS)
    assert contrast(torch.cat([apart, apart])) < 0.3
    assert contrast(torch.cat([apart, apart.roll(DRAWINGS, 0)])) > 3


def test_a_change_of_a_drawing_is_no_wrong_answer_for_it_and_another_artists_drawing_is() -> None:
    apart = torch.eye(4 * DRAWINGS)
    changed_alike, another_alike = apart.clone(), apart.clone()
    changed_alike[2], another_alike[BY_ANOTHER_ARTIST] = apart[0], apart[0]
    plain = contrast(torch.cat([apart, apart]))
    assert contrast(torch.cat([changed_alike, changed_alike])) <= plain
    assert contrast(torch.cat([another_alike, another_alike])) > plain + 0.05


def test_the_less_spoilt_picture_is_to_be_nearer_and_both_nearer_than_another_thing() -> None:
    things = torch.eye(3 * DRAWINGS)
    near, far = (F.normalize(things + share * torch.randn(things.shape, generator=torch.Generator().manual_seed(0)), dim=1) for share in (0.1, 0.4))
    right, reversed_, another = order(things, near, far), order(things, far, near), order(things, near, things.roll(DRAWINGS, 0))
    assert right < 0.1 < another < reversed_


def test_a_picture_is_spoilt_by_its_level() -> None:
    picture = to_tensor(np.array(Image.alpha_composite(Image.new("RGBA", (64, 64), "white"), disc()).convert("RGB"))[None])
    levels = torch.tensor([0.0, 0.2, 0.4, 0.6])
    changes = []
    for seed in range(8):
        bad = spoilt(picture.expand(4, -1, -1, -1), levels, torch.Generator().manual_seed(seed))
        assert bad.abs().max() <= 1
        changes.append((bad - picture).abs().mean(dim=(1, 2, 3)))
    means = torch.stack(changes).mean(dim=0)
    assert means[0] < 1e-5 and (means.diff() > 0.01).all()
