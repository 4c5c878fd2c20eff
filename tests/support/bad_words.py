"""Bad files of words made by code: safetensors that lie about themselves, and pickles that are more than tensors."""

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Iterator
from typing import Any

import torch
from safetensors.torch import save

GOOD = {"<fox>": torch.ones(1, 32)}


class Runs:
    """Pickled as a call of `os.mkdir`, which a reader must not make."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.folder,)


def saved(value: Any, **options: Any) -> bytes:
    torch.save(value, buffer := io.BytesIO(), **options)
    return buffer.getvalue()


def lying(header: dict[str, Any] | bytes, data: bytes = bytes(128), length: int | None = None) -> bytes:
    """A safetensors file with any header, which may claim another length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(dtype: str = "F32", shape: Any = (1, 32), offsets: Any = (0, 128)) -> dict[str, Any]:
    return {"<fox>": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


def bad_words(folder: str = "/nowhere/pwned") -> Iterator[tuple[str, bytes]]:
    """Yield name, content; a pickle that is run makes `folder`."""
    whole = save(GOOD)
    for share in (0.05, 0.3, 0.6, 0.95):
        yield f"cut-{share}.safetensors", whole[: int(share * len(whole))]
        yield f"cut-{share}.pt", (pickled := saved(GOOD))[: int(share * len(pickled))]
    for name, value in {"nan": float("nan"), "infinity": float("inf")}.items():
        yield f"{name}.safetensors", save({"<fox>": torch.full((1, 32), value)})
    for dtype in (torch.int64, torch.bool, torch.uint8, torch.complex64):
        yield f"{dtype}.safetensors", save({"<fox>": torch.ones(1, 32).to(dtype)})
        yield f"{dtype}.pt", saved({"<fox>": torch.ones(1, 32).to(dtype)})
    for shape in ((), (0,), (0, 32), (1, 1, 32), (2, 0), (1,) * 12):
        yield f"shape-{shape}.safetensors", save({"<fox>": torch.ones(shape)})
        yield f"shape-{shape}.pt", saved({"<fox>": torch.ones(shape)})
    yield "several.safetensors", save({"<a>": torch.ones(1, 32), "<b>": torch.ones(1, 32)})
    yield "none.safetensors", save({})
    yield "unequal.safetensors", save({"clip_l": torch.ones(1, 32), "clip_g": torch.ones(2, 32)})
    yield from lying_headers()
    yield from pickles(folder)


def lying_headers() -> Iterator[tuple[str, bytes]]:
    yield "longer-than-the-file", lying(tensor(), length=2**40)
    yield "longer-than-64-bits", lying(tensor(), length=2**64 - 1)
    yield "no-length", lying(tensor(), length=0)
    yield "huge-header", lying({"__metadata__": {"x": "x" * 8_000_000}, **tensor()})
    yield "many-tensors", lying({f"<{n}>": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(20_000)}, b"")
    yield "outside-of-the-file", lying(tensor(offsets=(2**40, 2**40 + 128)))
    yield "backwards", lying(tensor(offsets=(128, 0)))
    yield "more-values-than-bytes", lying(tensor(shape=(2**31, 2**31)))
    yield "negative-shape", lying(tensor(shape=(-1, 32)))
    yield "shape-of-text", lying(tensor(shape="many"))
    yield "unknown-dtype", lying(tensor(dtype="F7"))
    yield "overlapping", lying({**tensor(), "<b>": tensor()["<fox>"]})
    yield "not-json", lying(b"{" + b"[" * 100_000)
    yield "not-utf-8", lying(b"{\xff\xfe")
    yield "list", lying(b"[1]")
    yield "layers-of-words", save(GOOD, {"layers": "many"})
    yield "no-layers", save(GOOD, {"layers": "0"})
    yield "settings-of-numbers", save(GOOD, {"settings": "[1", "layers": "-1"})
    yield "deep-settings", save(GOOD, {"settings": "[" * 100_000})


def pickles(folder: str) -> Iterator[tuple[str, bytes]]:
    """Yield files that PyTorch could read, and that try to run a program, or to write outside of their folder."""
    yield "runs.pkl", pickle.dumps(Runs(folder))
    yield "runs.pt", saved({"<fox>": Runs(folder)})
    yield "runs.bin", saved(Runs(folder), _use_new_zipfile_serialization=False)
    yield "runs-as.safetensors", saved({"string_to_param": {"*": Runs(folder)}, "name": "fox"})
    yield "calls-eval.pkl", b"\x80\x02c__builtin__\neval\n(U\x0bos.mkdir(f)\ntR."
    yield "stack-of-marks.pkl", b"\x80\x02" + b"(" * 50_000
    yield "list.pt", saved([torch.ones(1, 32)])
    yield "text.pt", saved({"<fox>": "a fox"})
    yield "numbers.pt", saved({3: torch.ones(1, 32)})
    yield "sparse.pt", saved({"<fox>": torch.ones(1, 32).to_sparse()})
    yield "expanded.pt", saved({"<fox>": torch.ones(1, 1).expand(2**20, 2**10)})
    yield "of-no-device.pt", saved({"<fox>": torch.ones(1, 32, device="meta")})
    yield "itself.pt", saved({"string_to_param": (value := {}) or value, "name": 3})
    for name, entry in {"climbs.zip": "../../pwned", "absolute.zip": folder, "archive.zip": "archive/data.pkl"}.items():
        with zipfile.ZipFile(buffer := io.BytesIO(), "w") as archive:
            archive.writestr(entry, pickle.dumps(Runs(folder)))
        yield name, buffer.getvalue()
    with zipfile.ZipFile(buffer := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(64 << 20))
        archive.writestr("archive/version", "3")
    yield "bomb.zip", buffer.getvalue()
