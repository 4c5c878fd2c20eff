"""What a file of tensors from a stranger holds, read without running it."""

import io
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

MAX_BYTES = 16 * 2**20  # a word of 64 vectors takes half a megabyte: what is larger is a model
DAMAGED = (RuntimeError, EOFError, LookupError, TypeError, AttributeError, AssertionError, ArithmeticError, zipfile.BadZipFile)
"""What PyTorch and zipfile raise on damaged files, beside ValueError."""


def read_content(path: Path) -> tuple[Mapping[str, Any], dict[str, str]]:
    """Return what a file holds and its metadata; a pickle may hold only tensors and plain values, whatever its extension.

    Raises:
        ValueError: it is too large, damaged, not a file of tensors, or a pickle of more than tensors.
    """
    if not path.is_file():
        raise ValueError(f"{path} is not a regular file; name the file of a word")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{path} has {size / 2**20:.0f} MiB, but a word has no more than {MAX_BYTES // 2**20}; a model is not a word")
    with path.open("rb") as file:
        start = file.read(9)
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= size - 8:
        try:
            with safe_open(path, "pt") as tensors:
                return {name: tensors.get_tensor(name) for name in tensors.keys()}, tensors.metadata() or {}  # noqa: SIM118, it is no dict
        except SafetensorError as error:
            raise ValueError(f"{path} is a damaged safetensors file: {error}") from error
    if not start.startswith((b"PK\x03\x04", b"\x80")):
        raise ValueError(f"{path} is neither safetensors nor a PyTorch file")
    try:
        refuse_bomb(path)
        # The paper's own code keeps the rows in a ParameterDict, a container that runs no code from the file.
        with torch.serialization.safe_globals([nn.ParameterDict]), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of protocols and sparse tensors; what is no word is refused
            # It gets the bytes, because PyTorch goes by the extension of a path.
            content = torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path} is a pickle of more than tensors, which could run a program, so it is not read") from error
    except DAMAGED as error:
        raise ValueError(f"{path} is a damaged PyTorch file") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__} and not tensors by name")
    return content, {}


def refuse_bomb(path: Path) -> None:
    """Raise a ValueError if a PyTorch file, which is a zip archive, unpacks to more than a word; old ones are plain pickles."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > 2 * MAX_BYTES:
                raise ValueError(f"{path} unpacks to more than {2 * MAX_BYTES // 2**20} MiB; a word has less")
