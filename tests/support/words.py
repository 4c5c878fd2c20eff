"""Words in training on invented pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor

from tasks.diffusion.base_model import BaseModel
from tasks.inversion.encoder import PictureEncoder, new_encoder
from tasks.inversion.loop import train
from tasks.inversion.methods import method
from tasks.inversion.options import Pick
from tasks.inversion.training import Training, new_training

TEMPLATES = ("a photo of a {}", "the {}")
SETTINGS: dict[str, dict[str, Any]] = {
    "progressive": {"add_at": (2, 4)},
    "regularised": {"weight": 10.0},
    "dreambooth": {"identifier": "alien", "prior": {"pictures": 3, "weight": 1.0, "num_inference_steps": 2, "guidance_scale": 2.0}},
    "extended": {"word": "textual_inversion"},
    "encoder": {"weight": 10.0},
    "lora": {"word": "textual_inversion", "layers": "attention", "rank": 2, "learning_rate": 1e-2, "steps": 4},
    "perfusion": {"word": "textual_inversion", "steps": 4, "learning_rate": 1e-2, "bias": 0.75, "temperature": 0.1},
}
VECTORS = {"progressive": 3}


def make(base: BaseModel, name: str, kind: Literal["object", "style"] = "object", **changes: Any) -> Training:
    """A word of a method on three invented pictures."""
    shape = (3, *base.latent_shape)
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(1)), torch.full(shape, 0.1)
    settings: dict[str, Any] = {"num_vectors": VECTORS.get(name, 1), "max_train_steps": 6, "options": SETTINGS.get(name, {})} | changes
    word = new_training(
        base,
        name,
        "<fox>",
        settings.get("initializer", "dog"),
        kind,
        TEMPLATES,
        latents,
        settings["num_vectors"],
        batch_size=2,
        learning_rate=5e-3,
        max_train_steps=settings["max_train_steps"],
        timesteps=(0.0, 1.0),
        average_last=0.5,
        seed=0,
        contexts=settings.get("contexts", ("",)),
    )
    found = method(name)
    return found.prepare(base, word, found.Options(**settings["options"]))


def trained(base: BaseModel, folder: Path, *words: Training, on_step: Callable[[Training], object] = lambda word: None) -> list[Tensor]:
    checkpoints = {word.concept: folder / f"{word.concept}.pt" for word in words}
    list(train(base, words, checkpoints, 2, on_step=on_step))
    return [word.learned.rows.clone() for word in words]


PICTURES = [Image.new("RGB", (16, 16), colour) for colour in ("red", "navy")]


def pick(scorer: Path, every: int = 2) -> Pick:
    return Pick(every=every, pictures=2, num_inference_steps=2, guidance_scale=2.0, model=f"local-dir:{scorer}", pretrained=None)


def random_encoder(base: BaseModel) -> PictureEncoder:
    """An encoder that has learned nothing; it is the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return new_encoder(base).eval()
