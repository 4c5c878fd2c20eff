"""learned_embeds.safetensors: a word's rows and their description, as diffusers loads them.

A base model with one text encoder has one tensor for a word, named by the placeholder. One with several has a tensor for each, under
ComfyUI's names: `clip_l` and `clip_g` for SDXL, and `t5xxl` in newer families.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

PARTS = ("clip_l", "clip_g", "t5xxl")
"""The names of several text encoders' tensors, in the order of a learned row's parts."""
EMBEDDING = "learned_embeds.safetensors"
ADAPTERS = {"lora": "pytorch_lora_weights.safetensors", "changes": "denoiser_changes.safetensors"}
"""Kind of adapter -> its file beside the embedding: a LoRA under diffusers' name, or what no pipeline of diffusers loads."""


def embedding_file(concept: str, rows: Tensor, record: dict, parts: Mapping[str, int], architecture: str) -> bytes:
    """Return the file of a word's rows (vectors, dim), or (vectors, layers * dim) of a word with rows for each cross-attention layer.

    record: everything that decided the rows. parts: the name of each text encoder's tensor -> its dimension; they sum to dim.
    """
    placeholder, widths = record["settings"]["placeholder_token"], list(parts.values())
    names = [placeholder] if len(parts) == 1 else parts
    of_layers = rows.unflatten(1, (-1, sum(widths))).split(widths, dim=2)
    tensors = {name: part.flatten(1).contiguous() for name, part in zip(names, of_layers, strict=True)}
    layers = rows.shape[1] // sum(widths)
    described = metadata(concept, record, rows, architecture) | ({"layers": str(layers)} if layers > 1 else {})
    return in_order(save(tensors, metadata=described))


def read_rows(path: Path) -> dict[str, Tensor]:
    """Return placeholder -> rows, as they were given to `embedding_file`, of a file that `embedding_file` made."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
        if names := parts_in(tensors):
            layers = int(file.metadata().get("layers", 1))
            of_layers = torch.cat([tensors[name].unflatten(1, (layers, -1)) for name in names], dim=2)
            return {file.metadata()["placeholder_token"]: of_layers.flatten(1)}
    return tensors


def parts_in(names: Iterable[str]) -> list[str]:
    """Return the names of several text encoders' tensors in their order; none where the names are others or only one."""
    found = set(names)
    return [name for name in PARTS if name in found] if len(found) > 1 and found <= set(PARTS) else []


def files_of(embedding: Path) -> list[Path]:
    """Return the files of a learned concept: its embedding, and the adapter that the embedding names, if there is one.

    Raises:
        ValueError: the adapter is not beside the embedding, or another one is.
    """
    with safe_open(embedding, "pt") as file:
        described = file.metadata() or {}
    files = [embedding]
    for kind, name in ADAPTERS.items():
        if (sha256 := described.get(f"{kind}_sha256")) is None:
            continue
        adapter = embedding.with_name(name)
        if not adapter.exists() or hashlib.sha256(adapter.read_bytes()).hexdigest() != sha256:
            raise ValueError(
                f"{embedding} needs {adapter} with SHA-256 {sha256[:12]}, which is missing or different; restore it, or build the word again"
            )
        files.append(adapter)
    return files


def layers_in(embedding: Path) -> int:
    """Return the number of cross-attention layers that have rows of their own; 1 where all read the same."""
    with safe_open(embedding, "pt") as file:
        return int((file.metadata() or {}).get("layers", 1))


def in_order(data: bytes) -> bytes:
    """Return a safetensors file with the keys of its header sorted, since the library writes metadata in random order."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # the format aligns tensors to eight bytes
    return len(header).to_bytes(8, "little") + header + data[end:]


def metadata(concept: str, record: dict, rows: Tensor, architecture: str) -> dict[str, str]:
    """Return the file's own description: ModelSpec keys (as kohya writes them) and our record."""
    values = {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"{architecture}/textual-inversion",
        "modelspec.implementation": "diffusers",
        "modelspec.title": concept,
        "modelspec.trigger_phrase": record["settings"]["placeholder_token"],
        "concept": concept,
        "num_vectors": len(rows),
        "placeholder_token": record["settings"]["placeholder_token"],
        "initializer_token": record.get("coarse_word", record["settings"]["initializer_token"]),  # an ordinary word, which other tools know
        **{f"base_{name}": value for name, value in record["base"].items()},
        "data_sha256": record["data_sha256"],
        "settings": record["settings"],
        "versions": record["versions"],
        **{name: record[name] for name in ("lora_sha256", "changes_sha256") if name in record},
    }
    return {name: value if isinstance(value, str) else json.dumps(value, sort_keys=True) for name, value in sorted(values.items())}
