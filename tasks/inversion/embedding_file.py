"""learned_embeds.safetensors: one tensor named by its placeholder, which diffusers loads unchanged, with its own description."""

import json

from safetensors.torch import save
from torch import Tensor


def embedding_file(concept: str, rows: Tensor, record: dict) -> bytes:
    """Return the file of a word's rows (vectors, dim); `record` is everything that decided them."""
    return in_order(save({record["settings"]["placeholder_token"]: rows}, metadata=metadata(concept, record, rows)))


def in_order(data: bytes) -> bytes:
    """Return a safetensors file whose header is in the order of its keys: the library writes metadata in a random one."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # the format aligns tensors to eight bytes
    return len(header).to_bytes(8, "little") + header + data[end:]


def metadata(concept: str, record: dict, rows: Tensor) -> dict[str, str]:
    """Return the file's own description: ModelSpec keys (as kohya writes them) and our record."""
    values = {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": "stable-diffusion-v1/textual-inversion",
        "modelspec.implementation": "diffusers",
        "modelspec.title": concept,
        "modelspec.trigger_phrase": record["settings"]["placeholder_token"],
        "concept": concept,
        "num_vectors": len(rows),
        "placeholder_token": record["settings"]["placeholder_token"],
        "initializer_token": record["settings"]["initializer_token"],
        **{f"base_{name}": value for name, value in record["base"].items()},
        "data_sha256": record["data_sha256"],
        "settings": record["settings"],
        "versions": record["versions"],
    }
    return {name: value if isinstance(value, str) else json.dumps(value, sort_keys=True) for name, value in sorted(values.items())}
