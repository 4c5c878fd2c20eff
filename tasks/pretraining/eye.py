"""The embedded fidelity judge: a small network that tells drawings apart, also those of one thing by several artists.

Pictures of one drawing on other scenes, in other sizes and media are near one another. Other drawings are far: those of the same thing by another
artist, and those that a word which was learned badly might draw, with a part missing, bent, in other colours, or half replaced.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import ResNetConfig, ResNetModel

from tasks.pictures.cutting import cut_out
from tasks.pretraining.autoencoder import to_tensor
from tasks.pretraining.domain import SEEN
from tasks.pretraining.media import MEDIA, SIZE
from tasks.pretraining.scenes import SCENES
from tasks.pretraining.scorer import augment
from tasks.pretraining.sprites import crossed, painted, recoloured
from tasks.pretraining.training import train
from tasks.pretraining.world import THING_COLOURS, Sample, World

DRAWINGS = 4  # of a group: one, the same thing by another artist, and two changes of the first
VIEWS = 6  # pictures of a drawing
TEMPERATURE = 0.1
EYE_SIZE = 72  # px
LAYOUT_SHARES = {"one": 0.6, "small": 0.08, "big": 0.12, "corner": 0.08, "and": 0.12}
Group = list[Image.Image]


def eye_config() -> ResNetConfig:
    """Return the network: a ResNet-18 with narrow layers, 2.7 million weights, 224 features."""
    return ResNetConfig(embedding_size=32, hidden_sizes=[32, 64, 160, 224], depths=[2, 2, 2, 2], layer_type="basic")


def erased(rng: np.random.Generator, sprite: Image.Image) -> Image.Image:
    """Return a sprite that lacks a part at its rim."""
    opaque, side = np.asarray(sprite.getchannel("A")) > 128, sprite.width
    rim = np.argwhere(opaque & ~np.roll(opaque, rng.integers(3, 8), axis=rng.integers(2)))
    row, column = rim[rng.integers(len(rim))] if len(rim) else (side // 2, side // 2)
    high, wide = rng.uniform(0.15, 0.3, 2) * side
    kept = sprite.getchannel("A").copy()
    ImageDraw.Draw(kept).ellipse([column - wide, row - high, column + wide, row + high], fill=0)
    lacking = sprite.copy()
    lacking.putalpha(kept)
    return lacking


def bent(rng: np.random.Generator, sprite: Image.Image) -> Image.Image:
    """Return a sprite whose parts have moved against one another, by up to a sixth of its side."""
    cells, side = 3, sprite.width
    corners = np.stack(np.meshgrid(*[np.linspace(0, side, cells + 1)] * 2), axis=2)
    moved = corners + rng.uniform(-side / 6, side / 6, corners.shape)
    edge = np.linspace(0, side, cells + 1).astype(int)
    mesh = [
        ((edge[x], edge[y], edge[x + 1], edge[y + 1]), tuple(np.concatenate([moved[y, x], moved[y + 1, x], moved[y + 1, x + 1], moved[y, x + 1]])))
        for y in range(cells)
        for x in range(cells)
    ]
    return sprite.transform(sprite.size, Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)


def changed(rng: np.random.Generator, sprite: Image.Image, other: Image.Image) -> Image.Image:
    """Return a drawing that is nearly a sprite."""
    ways: list[Callable[[], Image.Image]] = [
        lambda: erased(rng, sprite),
        lambda: bent(rng, sprite),
        lambda: bent(rng, erased(rng, sprite)),
        lambda: crossed(rng, sprite, other),
        lambda: painted(sprite, str(rng.choice(THING_COLOURS))),
        lambda: recoloured(sprite, int(rng.choice([-1, 1]) * rng.integers(25, 90))),
    ]
    return ways[rng.choice(len(ways), p=[0.2, 0.3, 0.2, 0.15, 0.05, 0.1])]()


def draw_group(rng: np.random.Generator, world: World) -> Group:
    """Draw a thing that has been seen by two artists, and two changes of the first drawing."""
    while True:
        index = rng.choice(SEEN)
        by = [sprites[index] for sprites in world.sprites.values() if sprites[index].getbbox()]
        first, second = (by[number] for number in rng.choice(len(by), 2, replace=False))
        others = [sprites[rng.choice(SEEN)] for sprites in [world.sprites["fluent"]] * 2]
        return [first, second, *(changed(rng, first, other) for other in others)]


def draw_view(rng: np.random.Generator, world: World, drawing: Image.Image) -> np.ndarray:
    """Return a picture of a drawing as the judge sees it, cut from a plain ground: (64, 64, 3) uint8."""
    layout = str(rng.choice(list(LAYOUT_SHARES), p=list(LAYOUT_SHARES.values())))
    scene = "plain" if rng.random() < 0.4 else str(rng.choice(list(SCENES)[1:]))
    medium = "photo" if rng.random() < 0.6 else str(rng.choice(list(MEDIA)))
    shown = [drawing] if layout != "and" else [drawing, world.sprites["fluent"][rng.choice(SEEN)]][:: rng.choice([-1, 1])]
    picture = world.place(rng, Sample((), (None,) * len(shown), layout, scene, medium, ""), shown)
    return np.asarray(cut_out(picture).resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def draw_groups(art: Path, styles: Sequence[str], count: int, seed: int) -> np.ndarray:
    """Return pictures of groups of drawings: (count, DRAWINGS, VIEWS, 64, 64, 3) uint8."""
    world, rng = World(art, styles, seed=seed), np.random.default_rng(seed)
    pictures = np.empty((count, DRAWINGS, VIEWS, SIZE, SIZE, 3), np.uint8)
    for group in pictures:
        for views, drawing in zip(group, draw_group(rng, world), strict=True):
            for view in views:
                view[:] = draw_view(rng, world, drawing)
    return pictures


def eye_loss(pictures: np.ndarray, groups: int) -> Callable[[nn.Module, np.random.Generator, torch.Generator], Tensor]:
    """Return the contrastive loss of two views of each drawing in `groups` groups (NT-Xent, Chen et al. 2020)."""

    def loss(model: nn.Module, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
        rows = rng.choice(len(pictures), groups, replace=False)
        two = rng.permuted(np.tile(np.arange(VIEWS), (groups * DRAWINGS, 1)), axis=1)[:, :2]
        views = pictures[rows].reshape(groups * DRAWINGS, VIEWS, SIZE, SIZE, 3)[np.arange(groups * DRAWINGS)[:, None], two]
        images = to_tensor(np.concatenate([views[:, 0], views[:, 1]])).to(generator.device)
        mirrored = torch.rand(len(images), generator=generator, device=generator.device) < 0.5
        images = augment(torch.where(mirrored[:, None, None, None], images.flip(-1), images), generator, EYE_SIZE)
        features = F.normalize(model(images.contiguous(memory_format=torch.channels_last)).pooler_output.flatten(1).float(), dim=-1)
        logits = features @ features.T / TEMPERATURE
        count = groups * DRAWINGS
        partner = torch.arange(2 * count, device=logits.device).roll(count)
        return F.cross_entropy(logits.masked_fill(torch.eye(2 * count, dtype=torch.bool, device=logits.device), -1e4), partner)

    return loss


def train_eye(pictures: np.ndarray, folder: Path, max_train_steps: int, groups: int = 16, peak: float = 1e-3) -> nn.Module:
    """Train the judge on pictures (n, DRAWINGS, VIEWS, 64, 64, 3); a checkpoint in `folder` is continued."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ResNetModel(eye_config())
    return train("eye", model, eye_loss(pictures, groups), folder, max_train_steps, peak, weight_decay=0.05)


def save_eye(model: nn.Module, folder: Path) -> None:
    """Write a folder that transformers' AutoModel and AutoImageProcessor load."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {**eye_config().to_diff_dict(), "architectures": ["ResNetModel"], "dtype": "float16"}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    size = {"height": EYE_SIZE, "width": EYE_SIZE}
    half = {"do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_resize": True, "size": size, "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": "ViTImageProcessor", **half}, indent=2) + "\n")
    weights = {name: value.half() if value.is_floating_point() else value for name, value in model.state_dict().items()}
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / "model.safetensors", metadata={"format": "pt"})
