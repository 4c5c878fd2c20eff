"""The embedded fidelity judge: a small network that tells drawings apart, also those of one thing by several artists.

Pictures of one drawing on other scenes, in other sizes and media are near one another. Other drawings are far: those of the same thing by another
artist, and those with a part missing, bent, in other colours, or half replaced. Some pictures are spoilt in the way in which a badly learned word
draws. The more a picture is spoilt, the farther it is from its drawing, but it is nearer than another thing.
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
from tasks.pretraining.media import SIZE
from tasks.pretraining.scenes import SCENES
from tasks.pretraining.scorer import augment
from tasks.pretraining.sprites import crossed, painted, recoloured
from tasks.pretraining.training import train
from tasks.pretraining.world import THING_COLOURS, Sample, World, pick

DRAWINGS = 4  # of a group: one, the same thing by another artist, and two changes of the first
BY_ANOTHER_ARTIST = 1  # the place of the second one in a group
VIEWS = 6  # pictures of a drawing
TEMPERATURE = 0.2
EYE_SIZE = 72  # px
COLOUR_SHIFT = 0.08
MOST_SPOILT = 0.75  # little is left of a thing beyond
LEVEL_STEP = 0.15  # the least difference of two pictures that are put in order
ORDER_WEIGHT = 3.0
MEDIA_SHARES = {"photo": 0.6, "cartoon": 0.08, "icon": 0.08, "oil": 0.09, "watercolor": 0.09, "pixel": 0.06}
"""The media of views: those that keep a thing's colours, by which eyes tell things apart too."""
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


def draw_view(rng: np.random.Generator, world: World, drawing: Image.Image, alone: bool) -> np.ndarray:
    """Return a picture of a drawing as the judge sees it, cut from a plain ground: (64, 64, 3) uint8; `alone` is a plain photo."""
    layout = "one" if alone else pick(rng, LAYOUT_SHARES)
    scene = "plain" if alone or rng.random() < 0.4 else str(rng.choice(list(SCENES)[1:]))
    medium = "photo" if alone else pick(rng, MEDIA_SHARES)
    shown = [drawing] if layout != "and" else [drawing, world.sprites["fluent"][rng.choice(SEEN)]][:: rng.choice([-1, 1])]
    picture = world.place(rng, Sample((), (None,) * len(shown), layout, scene, medium, ""), shown)
    return np.asarray(cut_out(picture).resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def draw_groups(art: Path, styles: Sequence[str], count: int, seed: int) -> np.ndarray:
    """Return pictures of groups of drawings: (count, DRAWINGS, VIEWS, 64, 64, 3) uint8. The first view shows the drawing alone."""
    world, rng = World(art, styles, seed=seed), np.random.default_rng(seed)
    pictures = np.empty((count, DRAWINGS, VIEWS, SIZE, SIZE, 3), np.uint8)
    for group in pictures:
        for views, drawing in zip(group, draw_group(rng, world), strict=True):
            for number, view in enumerate(views):
                view[:] = draw_view(rng, world, drawing, alone=number == 0)
    return pictures


def spoilt(pictures: Tensor, levels: Tensor, generator: torch.Generator) -> Tensor:
    """Bend, blur, blotch and partly erase pictures (n, 3, h, w) in [-1, 1], each by its level in [0, 1] (n,)."""
    n, _, side, _ = pictures.shape
    level = levels.view(n, 1, 1, 1)

    def field(channels: int, cells: int) -> Tensor:
        """Return a smooth random field in [-1, 1]."""
        coarse = 2 * torch.rand(n, channels, cells, cells, generator=generator, device=pictures.device) - 1
        return F.interpolate(coarse, side, mode="bicubic", align_corners=True)

    grid = F.affine_grid(torch.eye(2, 3, device=pictures.device).expand(n, 2, 3), list(pictures.shape), align_corners=False)
    bent = F.grid_sample(pictures, grid + 0.45 * (level * field(2, 5)).permute(0, 2, 3, 1), padding_mode="border", align_corners=False)
    blurred = F.avg_pool2d(F.avg_pool2d(bent, 5, 1, 2, count_include_pad=False), 5, 1, 2, count_include_pad=False)
    ink = ((1 - bent).amax(dim=1, keepdim=True) > 0.15).float()  # the ground stays as it is
    blotched = bent.lerp(blurred, (1.4 * level).clamp(max=0.9)) + 0.9 * level * ink * field(3, 4)
    gone = (field(1, 4) > 1.15 - 0.9 * level).float()
    return (blotched * (1 - gone) + gone).clamp(-1, 1)


def eye_loss(pictures: np.ndarray, groups: int) -> Callable[[nn.Module, np.random.Generator, torch.Generator], Tensor]:
    """Return the loss on every drawing of `groups` groups: NT-Xent of two of its views (Chen et al. 2020), and the order of two spoilt ones."""

    def loss(model: nn.Module, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
        device, count = generator.device, groups * DRAWINGS
        drawn = pictures[rng.choice(len(pictures), groups, replace=False)].reshape(count, VIEWS, SIZE, SIZE, 3)
        two = rng.permuted(np.tile(np.arange(VIEWS), (count, 1)), axis=1)[:, :2]
        shown = np.where(rng.random(count) < 0.6, 0, two[:, 0])
        views, model_of = drawn[np.arange(count)[:, None], two], drawn[np.arange(count), shown]
        images = augment(mirrored(to_tensor(np.concatenate([views[:, 0], views[:, 1]])).to(device), generator), generator, EYE_SIZE, COLOUR_SHIFT)
        less = (MOST_SPOILT - LEVEL_STEP) * torch.rand(count, generator=generator, device=device)
        more = less + LEVEL_STEP + (MOST_SPOILT - LEVEL_STEP - less) * torch.rand(count, generator=generator, device=device)
        levels = torch.cat([less, more])
        bad = spoilt(to_tensor(np.concatenate([model_of, model_of])).to(device), levels, generator)
        images = torch.cat([images, augment(mirrored(bad, generator), generator, EYE_SIZE, COLOUR_SHIFT)])
        features = F.normalize(model(images.contiguous(memory_format=torch.channels_last)).pooler_output.flatten(1).float(), dim=-1)
        one, other, better, worse = features.split(count)
        return contrast(torch.cat([one, other])) + ORDER_WEIGHT * order(one, better, worse)

    return loss


def mirrored(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror half of the images (n, 3, h, w)."""
    chosen = torch.rand(len(images), generator=generator, device=images.device) < 0.5
    return torch.where(chosen[:, None, None, None], images.flip(-1), images)


def contrast(features: Tensor) -> Tensor:
    """Match the two views of each drawing: features (2 * drawings, dim), the first views before the second ones.

    A drawing and its changes are no wrong answers for one another, since a thing that is nearly right is not as far as another thing.
    """
    count, device = len(features), features.device
    drawing = torch.arange(count, device=device) % (count // 2)
    group, related = drawing // DRAWINGS, drawing % DRAWINGS != BY_ANOTHER_ARTIST
    same = (group[:, None] == group[None]) & related[:, None] & related[None]
    right = torch.arange(count, device=device).roll(count // 2)
    same[torch.arange(count, device=device), right] = False
    same.fill_diagonal_(True)
    return F.cross_entropy((features @ features.T / TEMPERATURE).masked_fill(same, -1e4), right)


def order(drawings: Tensor, better: Tensor, worse: Tensor) -> Tensor:
    """Put spoilt pictures in order: the less spoilt nearer to its drawing than the more spoilt, and both nearer than other things; (n, dim) each."""
    near, far = (drawings * better).sum(dim=1), (drawings * worse).sum(dim=1)
    others = (drawings * drawings.roll(DRAWINGS, 0)).sum(dim=1)  # the drawings of the next group are of another thing
    return F.softplus((far - near + 0.05) / 0.1).mean() + F.softplus((others - far + 0.05) / 0.1).mean()


def train_eye(pictures: np.ndarray, folder: Path, max_train_steps: int, groups: int = 10, peak: float = 1e-3) -> nn.Module:
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
