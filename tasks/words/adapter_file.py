"""An adapter of the denoiser as a file: our own, and the layouts of diffusers with peft and of kohya's sd-scripts.

A LoRA is kept in peft's layout. Other changes are kept in float16: a difference as `LAYER.diff` and `LAYER.diff_b`, a gated change as
`LAYER.gate.output`, with the `key`, `metric` and `gate` that all layers share.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from tasks.diffusion.changes import Change, Changes, Difference, Gated, LowRank, check_layers, weight_shape
from tasks.words.embedding_file import in_order
from tasks.words.joined_layers import TABLES, join, joined_layers, taken_apart
from tasks.words.kohya_names import kohya_name

SHARED = ("key", "metric", "gate")  # of the gated changes of all layers
OWNER = re.compile(r"^(unet|transformer)\.")  # the denoiser as a pipeline names it, before the name of a layer
PARTS = re.compile(r"^(?:unet|transformer)\.(?P<layer>.+)\.(?:lora_(?P<letter>[AB])|lora\.(?P<word>down|up))\.weight$")
UNET_PARTS = {"conv_in", "time_embedding", "add_embedding", "down_blocks", "mid_block", "up_blocks", "conv_norm_out", "conv_out"}
SDXL = "stable-diffusion-xl"
KOHYA = re.compile(r"^lora_unet_(?P<layer>.+)\.(?P<part>lora_down\.weight|lora_up\.weight|alpha)$")


def owner_of(changes: Changes) -> str:
    """Return the denoiser of these layers as its pipeline names it."""
    return "unet" if any(layer.partition(".")[0] in UNET_PARTS for layer in changes) else "transformer"


def to_peft(changes: Changes, architecture: str = "") -> dict[str, Tensor]:
    """Return a file's tensors in the layout that every diffusers pipeline loads; it means alpha = rank, a scale of 1.

    architecture: is not looked at, since diffusers names the layers of all families by one rule.

    Raises:
        TypeError: a change is of another kind.
    """
    tensors, owner = {}, owner_of(changes)
    for layer, change in changes.items():
        if not isinstance(change, LowRank):
            raise TypeError(f"{layer} has a change of the kind {type(change).__name__}, which no pipeline of diffusers loads")
        down, up = change
        tensors[f"{owner}.{layer}.lora_A.weight"] = down.contiguous()
        tensors[f"{owner}.{layer}.lora_B.weight"] = up.reshape(*up.shape, *[1] * (down.dim() - 2)).contiguous()
    return tensors


def from_peft(tensors: Mapping[str, Tensor]) -> dict[str, LowRank]:
    """Return layer -> change of a file that `to_peft` made, or one in diffusers' older layout.

    Raises:
        ValueError: a tensor is of another kind, or half of a change is missing.
    """
    factors: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match = PARTS.match(name)
        if match is None:
            raise ValueError(f"{name!r} is no part of a LoRA of the denoiser in diffusers' layout, such as unet.LAYER.lora_A.weight")
        side = "down" if (match["letter"] or match["word"]) in ("A", "down") else "up"
        factors.setdefault(match["layer"], {})[side] = tensor.float()
    return whole(factors)


def to_kohya(changes: Changes, architecture: str = "") -> dict[str, Tensor]:
    """Return a file's tensors as kohya's scripts and LyCORIS write them and A1111 and ComfyUI read them, with alpha = rank.

    architecture: the base model's name in ModelSpec; kohya's scripts name the layers of SDXL in another way, and join those of transformers.
    They know none of Z-Image's, whose LoRA stays in diffusers' layout.

    Raises:
        TypeError: a change is gated, or the difference of a transformer, for which there is no such layout.
    """
    if owner_of(changes) == "transformer":
        plain, layers = to_peft(changes), joined_layers(architecture, changes)  # the first one checks that each change is a LoRA
        joined = (factors(f"lora_unet_{layer.name}", join(layer, changes)) for layer in layers)  # type: ignore[arg-type]
        return {name: tensor for part in joined for name, tensor in part.items()} or plain
    tensors, xl = dict[str, Tensor](), architecture.startswith(SDXL)
    for layer, change in changes.items():
        name = f"lora_unet_{kohya_name(layer, xl)}"
        if isinstance(change, Difference):
            tensors |= named_difference(name, change)
        elif isinstance(change, LowRank):
            tensors |= factors(name, change)
        else:
            raise TypeError(f"{layer} has a change of the kind {type(change).__name__}, which no tool has a layout for")
    return tensors


def factors(name: str, change: LowRank) -> dict[str, Tensor]:
    """Return the tensors of one layer's LoRA under kohya's name."""
    down, up = change
    return {
        f"{name}.lora_down.weight": down.contiguous(),
        f"{name}.lora_up.weight": up.reshape(*up.shape, *[1] * (down.dim() - 2)).contiguous(),
        f"{name}.alpha": down.new_tensor(float(len(down))),
    }


def from_kohya(tensors: Mapping[str, Tensor], modules: Mapping[str, nn.Module]) -> dict[str, LowRank]:
    """Return layer -> change of a file of kohya's; `modules` are those of the denoiser by name. Joined layers are taken apart.

    Raises:
        ValueError: a tensor is of another kind or of no layer, or half of a change is missing.
    """
    together = {layer.name: layer for architecture in TABLES for layer in joined_layers(architecture, modules)}
    names = {kohya_name(layer, xl): layer for layer in modules for xl in (True, False)} | {name: name for name in together}
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match = KOHYA.match(name)
        if match is None or match["layer"] not in names:
            raise ValueError(f"{name!r} is no part of a LoRA of this denoiser in kohya's layout, such as lora_unet_LAYER.lora_down.weight")
        side = {"lora_down.weight": "down", "lora_up.weight": "up", "alpha": "alpha"}[match["part"]]
        found.setdefault(names[match["layer"]], {})[side] = tensor.float()
    changes = dict[str, LowRank]()
    for layer, change in whole(found).items():
        if layer in together:
            members = together[layer].members
            changes |= taken_apart(together[layer], change, {member: weight_shape(modules[member])[0] for member in members})
        else:
            changes[layer] = change
    return dict(sorted(changes.items()))


def stored(changes: Changes) -> dict[str, Tensor]:
    """Return the tensors of an adapter's own file, which `read_changes` reads."""
    tensors, owner = to_peft({layer: change for layer, change in changes.items() if isinstance(change, LowRank)}), owner_of(changes)
    for layer, change in changes.items():
        if isinstance(change, Difference):
            tensors |= named_difference(f"{owner}.{layer}", change)
        elif isinstance(change, Gated):
            tensors |= {f"{owner}.{layer}.gate.output": change.output.half(), "key": change.key, "metric": change.metric, "gate": change.gate}
    return tensors


def named_difference(name: str, change: Difference) -> dict[str, Tensor]:
    """Return a difference as LyCORIS and ComfyUI name it, in float16."""
    tensors = {f"{name}.diff": change.weight, f"{name}.diff_b": change.bias}
    return {key: tensor.half().contiguous() for key, tensor in tensors.items() if tensor is not None}


def read_changes(tensors: Mapping[str, Tensor]) -> dict[str, Change]:
    """Return layer -> change of the tensors that `stored` returned, in float32.

    Raises:
        ValueError: see `from_peft`.
    """
    changes, factors = dict[str, Change](), dict[str, Tensor]()
    for name, tensor in tensors.items():
        layer = OWNER.sub("", name)
        if name.endswith(".diff"):
            bias = tensors.get(f"{name}_b")
            changes[layer.removesuffix(".diff")] = Difference(tensor.float(), None if bias is None else bias.float())
        elif name.endswith(".gate.output"):
            changes[layer.removesuffix(".gate.output")] = Gated(tensors["key"], tensors["metric"], tensor.float(), tensors["gate"])
        elif name not in SHARED and not name.endswith(".diff_b"):
            factors[name] = tensor
    return changes | from_peft(factors)


LAYOUTS: dict[str, Callable[[Changes, str], dict[str, Tensor]]] = {
    "diffusers": to_peft,
    "a1111": to_kohya,
    "kohya": to_kohya,
    "comfyui": to_kohya,
    "sd-concepts-library": to_peft,
}
"""Format of an exported word -> the layout in which its tools read the adapter."""
PEFT = {style for style, layout in LAYOUTS.items() if layout is to_peft}
"""The formats whose tools read a LoRA and no other change."""


def adapter_bytes(adapter: Changes, style: str, architecture: str = "") -> bytes:
    """Return an adapter as the safetensors file that the tools of an export format read; its strength 1 is the strength it was scored with.

    architecture: the base model's name in ModelSpec.

    Raises:
        TypeError: those tools have no layout for it.
    """
    ranks = {len(change.down) for change in adapter.values() if isinstance(change, LowRank)} or {1}
    metadata = {"format": "pt", "ss_network_module": "networks.lora", "ss_network_dim": str(max(ranks)), "ss_network_alpha": str(float(max(ranks)))}
    return in_order(save(LAYOUTS[style](adapter, architecture), metadata))


def read_adapter(path: Path, denoiser: nn.Module, word: str) -> dict[str, LowRank]:
    """Read a LoRA of a denoiser in peft's, diffusers' or kohya's layout; `word` names its owner in errors.

    Raises:
        ValueError: it is no safetensors file, changes something else than this denoiser, or has numbers that are not finite.
    """
    if not path.is_file():
        raise ValueError(f"{path} is not a regular file; name the file of a LoRA")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a safetensors file that can be read ({error}); a LoRA in a pickle is not loaded") from error
    with safe_open(path, "pt") as file:
        described = adapter_metadata(file.metadata() or {})
    if any(described.get(f"{part}lora_alpha") != described.get(f"{part}r") for part in ("", "unet.", "transformer.")):
        raise ValueError(f"{path} is scaled by an alpha other than its rank; merge the scale into the factors, or save it with alpha = rank")
    kohya = any(name.startswith("lora_") for name in tensors)
    try:
        changes = from_kohya(tensors, dict(denoiser.named_modules())) if kohya else from_peft(tensors)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if not changes:
        raise ValueError(f"{path} holds no LoRA")
    check_layers(word, changes, dict(denoiser.named_modules()))
    if not all(factor.isfinite().all() for change in changes.values() for factor in change):
        raise ValueError(f"{path} has NaN or infinity, which give black pictures; export the LoRA again from before it diverged")
    return changes


def adapter_metadata(described: Mapping[str, str]) -> dict[str, Any]:
    """Return what peft says of a LoRA; nothing where it is missing or no JSON object."""
    try:
        said = json.loads(described.get("lora_adapter_metadata", "{}"))
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def whole(factors: Mapping[str, Mapping[str, Tensor]]) -> dict[str, LowRank]:
    """Return layer -> change of the factors of each layer; an alpha other than the rank becomes a part of `up`.

    Raises:
        ValueError: half of a change is missing.
    """
    changes = {}
    for layer, parts in sorted(factors.items()):
        if missing := {"down", "up"} - parts.keys():
            raise ValueError(f"the LoRA lacks the {missing.pop()} factor of {layer}; the file is damaged")
        down, up, alpha = parts["down"], parts["up"], parts.get("alpha")
        if down.dim() not in (2, 4) or up.dim() not in (2, 4) or len(down) == 0 or up.shape[1] != len(down) or up[0, 0].numel() != 1:
            raise ValueError(f"the LoRA has factors of shapes {tuple(down.shape)} and {tuple(up.shape)} for {layer}, which give no change of a layer")
        if alpha is not None and alpha.numel() != 1:
            raise ValueError(f"the LoRA has {alpha.numel()} values as the alpha of {layer}; it is one number")
        changes[layer] = LowRank(down, up.flatten(1) * (1.0 if alpha is None else float(alpha) / len(down)))
    return changes
