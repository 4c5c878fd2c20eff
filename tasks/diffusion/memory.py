"""How many bits a base model's frozen weights have on a device: as many as its memory holds, or as `runtime.memory` says.

Words and LoRAs are trained over weights of fewer bits as QLoRA trains a LoRA (Dettmers et al. 2023).
"""

import json
import logging
import re
from collections.abc import Iterator
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Literal

import torch
from safetensors import safe_open
from torch import nn

from tasks.diffusion.families.parts import Family

Weights = Literal["full", "8bit", "4bit"]

logger = logging.getLogger(__name__)
FILLED = 0.75  # the share of a GPU's free memory that weights may take; the rest is for activations
BYTES = {"8bit": 1.0, "4bit": 0.5 + 4 / 64}  # of a weight in fewer bits; 64 weights of 4 bits share a scale in float32
IN_BLOCKS = re.compile(r"\.\d+\.")  # the repeated blocks have numbers; what is before and after them stays as it is


def pick_weights(memory: Literal["auto"] | Weights, family: Family, folder: Path, device: torch.device, model: str, full: float = 2.0) -> Weights:
    """Return what `runtime.memory` stands for on a device: `auto` is the most bits with which the weights in the folder fit into its free memory.

    full: bytes of a large part's weight that keeps its bits.

    Raises:
        ValueError: weights of fewer bits are asked for, and the model has a UNet, bitsandbytes is missing, or the device is a Mac's.
    """
    able, installed = family.denoiser == "transformer" and device.type != "mps", find_spec("bitsandbytes") is not None
    if memory == "auto":
        if device.type != "cuda" or not able:
            return "full"
        free = torch.cuda.mem_get_info(device)[0]
        needed = {weights: weights_bytes(folder, family, weights, full) for weights in ("full", "8bit", "4bit")}
        picked = next((weights for weights, size in needed.items() if size <= FILLED * free), "4bit")
        if picked != "full":
            sizes = f"{needed['full'] / 1e9:.1f} GB of weights in {8 * full:.0f} bits, and {free / 1e9:.1f} GB are free on {device}"
            remedy = f"runtime.memory auto takes {picked}" if installed else "install bitsandbytes (the extra `quantized`) for weights of fewer bits"
            logger.warning("%s has %s: %s", model, sizes, remedy)
        return picked if installed else "full"  # type: ignore[return-value]
    if memory != "full" and not able:
        raise ValueError(f"runtime.memory is {memory}, which is for transformers on a CPU or an Nvidia GPU, not {model} on {device}; set it to auto")
    if memory != "full" and not installed:
        raise ValueError(f"runtime.memory is {memory}, which needs bitsandbytes; install it (the extra `quantized`), or set it to auto")
    return memory


def weights_bytes(folder: Path, family: Family, weights: Weights, full: float = 2.0) -> float:
    """Return how many bytes the parts of a pipeline's folder take on a GPU, counted from the headers of its files.

    full: as of `pick_weights`.
    """
    large = large_parts(family)
    return sum(
        prod(shape) * (BYTES.get(weights, full) if part in large and in_fewer_bits(name, shape) else full if part in large else 4.0)
        for part, name, shape in tensors_of(folder)
    )


def tensors_of(folder: Path) -> Iterator[tuple[str, str, list[int]]]:
    """Yield the part, the name and the shape of each tensor in a pipeline's folder."""
    for path in weight_files(folder):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118, it is no dict
                yield path.parent.name, name, file.get_slice(name).get_shape()


def weight_files(folder: Path) -> list[Path]:
    """Return the `*.safetensors` below a folder in the order of their relative paths; of a pipeline's folder those that diffusers loads.

    The hub's cache may hold more: the weights once more, as variants (`model.fp16.safetensors`) or in one file, and parts of no pipeline.
    """
    files, index = sorted(folder.rglob("*.safetensors"), key=lambda path: path.relative_to(folder).as_posix()), folder / "model_index.json"
    if not index.exists():
        return files
    parts = json.loads(index.read_text(encoding="utf-8"))
    return [path for path in files if path.relative_to(folder).parts[0] in parts and "." not in path.stem]


def large_parts(family: Family) -> list[str]:
    """Return the parts of a pipeline that are worth fewer bits: the denoiser, and text encoders of billions of weights."""
    return [family.denoiser, *(part.model for part in family.text_encoders if part.pieces)]


def in_fewer_bits(name: str, shape: list[int]) -> bool:
    return len(shape) == 2 and IN_BLOCKS.search(name) is not None


def quantise(model: nn.Module, weights: Weights) -> None:
    """Give the linear layers in a frozen model's blocks weights of fewer bits, in place; they are rounded when the model moves to its device."""
    if weights == "full":
        return
    from bitsandbytes.nn import Int8Params, Linear4bit, Linear8bitLt, Params4bit

    layers = {name: layer for name, layer in model.named_modules() if type(layer) is nn.Linear and IN_BLOCKS.search(name)}
    for name, layer in layers.items():
        size, kind, values = (layer.in_features, layer.out_features, layer.bias is not None), layer.weight.dtype, layer.weight.data
        smaller: nn.Linear
        if weights == "4bit":
            # The storage has the type of the activations, since T5 converts them to the type of the next layer's weights.
            smaller = four = Linear4bit(*size, compute_dtype=kind, quant_type="nf4", quant_storage=kind, device="meta")
            smaller.weight = Params4bit(values, requires_grad=False, quant_type="nf4", quant_storage=kind, module=four)
        else:
            smaller = Linear8bitLt(*size, has_fp16_weights=False, device="meta")
            smaller.weight = Int8Params(values, requires_grad=False, has_fp16_weights=False)
        smaller.bias = layer.bias
        model.set_submodule(name, smaller)
