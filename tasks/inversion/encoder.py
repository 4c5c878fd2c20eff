"""An encoder makes a word from pictures in one pass (E4T, Gal et al. 2023; compare ELITE, Wei et al. 2023)."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from tasks.diffusion.base_model import BaseModel
from tasks.shipped import folder_of
from tasks.words.embedding_file import in_order

ENCODER = "encoder.safetensors"
SIDE = 4  # positions a side at which the layout of a picture is read
MOST_CHANNELS = 128


class PictureEncoder(nn.Module):
    """Reads the latents of a picture of a thing and returns the word for the thing."""

    def __init__(self, latent_shape: Sequence[int], norms: Sequence[float], widths: Sequence[int]) -> None:
        """Build the layers for latents of (channels, height, width), and for words with a part of each width and norm."""
        super().__init__()
        channels, height, width = latent_shape
        self.norms, self.widths, wide = tuple(norms), tuple(widths), MOST_CHANNELS // 4
        layers: list[nn.Module] = [nn.Conv2d(channels, wide, 3, 1, 1), nn.SiLU()]
        for _ in range((max(height, width) - 1).bit_length() - (SIDE - 1).bit_length()):
            wider = min(2 * wide, MOST_CHANNELS)
            layers += [nn.Conv2d(wide, wider, 3, 2, 1), Residual(wider)]
            wide = wider
        hidden = 3 * MOST_CHANNELS
        layers += [nn.AdaptiveAvgPool2d(SIDE), nn.Flatten(), nn.Linear(wide * SIDE**2, hidden), nn.SiLU(), nn.Linear(hidden, sum(widths))]
        self.layers = nn.Sequential(*layers)

    def forward(self, latents: Tensor) -> Tensor:
        """(n, channels, height, width) scaled latents -> (n, dim), each text encoder's part at its vocabulary's mean norm."""
        return self.held(self.layers(latents))

    def held(self, rows: Tensor) -> Tensor:
        """Bring each text encoder's part of rows (..., dim) to its vocabulary's mean norm."""
        parts = zip(rows.split(self.widths, dim=-1), self.norms, strict=True)
        return torch.cat([norm * nn.functional.normalize(part, dim=-1) for part, norm in parts], dim=-1)

    def word(self, latents: Tensor) -> Tensor:
        """Return the word of several pictures of one thing: (..., pictures, channels, height, width) latents -> (..., dim).

        It is the mean of the pictures' rows at the vocabulary's mean norm.
        """
        rows = self(latents.flatten(0, -4)).unflatten(0, latents.shape[:-3])
        return self.held(rows.mean(dim=-2))


class Residual(nn.Module):
    """Adds a block's output to its input (He et al. 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        convolutions = (nn.Conv2d(channels, channels, 3, 1, 1) for _ in range(2))
        self.block = nn.Sequential(*(layer for conv in convolutions for layer in (nn.GroupNorm(8, channels), nn.SiLU(), conv)))

    def forward(self, features: Tensor) -> Tensor:
        return features + self.block(features)


def new_encoder(base: BaseModel) -> PictureEncoder:
    """Build an encoder for a base model; the weights come from torch's global generator."""
    norms = [float(encoder.table.weight.norm(dim=1).mean()) for encoder in base.text_encoders]
    return PictureEncoder(base.latent_shape, norms, base.widths)


def design(base: BaseModel) -> dict[str, str]:
    """Return what an encoder's file says of its layers and of the base model that it is for."""
    layers = json.dumps({"latent_shape": base.latent_shape, "widths": base.widths})
    return {"design": layers, "base_weights_sha256": str(base.identity["weights_sha256"])}


def encoder_bytes(encoder: PictureEncoder, base: BaseModel, domain: str) -> bytes:
    """Return the file of an encoder, in float16; `domain` says which pictures it was trained on."""
    tensors = {name: value.half().contiguous() for name, value in encoder.state_dict().items()}
    return in_order(save(tensors, metadata={**design(base), "domain": domain}))


def encoder_file(path: str) -> Path:
    """Return the file of an encoder that params.yaml names by its folder or its file.

    Raises:
        ValueError: there is no such file.
    """
    folder = folder_of(path)
    file = folder / ENCODER if folder else Path(path)
    if not file.is_file():
        raise ValueError(f"base.encoder is {path}, but there is no {file}; restore it, name another in params.yaml, or train one")
    return file


def load_encoder(path: str, base: BaseModel) -> PictureEncoder:
    """Load an encoder in evaluation mode, on the device of the base model.

    Raises:
        ValueError: there is no such file, it is damaged, or it was trained for another base model.
    """
    file, wanted = encoder_file(path), design(base)
    try:
        with safe_open(file, "pt") as opened:
            found = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name).float() for name in opened.keys()}  # noqa: SIM118, it is no dict
    except SafetensorError as error:
        raise ValueError(f"{file} is damaged ({error}); restore it, or train an encoder with `python -m flows.train_encoder`") from error
    key = "base_weights_sha256"
    if found.get(key) != wanted[key]:
        raise ValueError(
            f"{file} is an encoder of base weights {found.get(key, 'unknown'):.12}, and base.model has {wanted[key]:.12};"
            " set base.encoder to an encoder of these weights or to null, or train one with `python -m flows.train_encoder`"
        )
    encoder = new_encoder(base)
    try:
        encoder.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"{file} lacks layers of an encoder of this wordmint; restore it, or train an encoder again") from error
    return encoder.to(base.device).eval().requires_grad_(False)
