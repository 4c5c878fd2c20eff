"""Words in training on invented pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from tasks.diffusion.base_model import BaseModel
from tasks.inversion.methods import METHODS
from tasks.inversion.options import OPTIONS, Pick
from tasks.inversion.textual_inversion import Word, new_word
from tasks.inversion.training import train_words

TEMPLATES = ("a photo of a {}", "the {}")
SETTINGS: dict[str, dict[str, Any]] = {
    "progressive": {"add_at": (2, 4)},
    "regularised": {"weight": 10.0},
    "pivotal": {"steps": 4, "rank": 2, "learning_rate": 1e-2},
}
VECTORS = {"progressive": 3}


def make(base: BaseModel, method: str, templates: tuple[str, ...] = TEMPLATES, **changes: Any) -> Word:
    """A word of a method on three invented pictures."""
    shape = (3, *base.latent_shape)
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(1)), torch.full(shape, 0.1)
    settings: dict[str, Any] = {"num_vectors": VECTORS.get(method, 1), "max_train_steps": 6, "options": SETTINGS.get(method, {})} | changes
    word = new_word(
        base,
        method,
        "<fox>",
        "dog",
        templates,
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
    return METHODS[method](base, word, OPTIONS[method](**settings["options"]))


def trained(base: BaseModel, folder: Path, *words: Word, on_step: Callable[[Word], object] = lambda word: None) -> list[Tensor]:
    train_words(base, words, [folder / f"{word.concept}.pt" for word in words], 2, on_step=on_step)
    return [word.learned.clone() for word in words]


PICTURES = [Image.new("RGB", (16, 16), colour) for colour in ("red", "navy")]


def pick(scorer: Path, every: int = 2) -> Pick:
    return Pick(every=every, pictures=2, num_inference_steps=2, guidance_scale=2.0, model=f"local-dir:{scorer}", pretrained=None)
