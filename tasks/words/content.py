"""What a file of tensors from a stranger holds, read without running it."""

import io
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

MAX_BYTES = 16 * 2**20  # a word of 64 vectors takes half a megabyte: what is larger is a model
MAX_UNPACKED = 2 * MAX_BYTES


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
        except Exception as error:  # SafetensorError, and what PyTorch raises on types and shapes that it does not have
            raise ValueError(f"{path} is a damaged safetensors file: {' '.join(str(error).split()):.200}") from error
    if not start.startswith((b"PK\x03\x04", b"\x80")):
        raise ValueError(f"{path} is neither safetensors nor a PyTorch file")
    try:
        unpacked = unpacked_bytes(path)
        content = load_pickle(path) if unpacked <= MAX_UNPACKED else None
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path} is a pickle of more than tensors, which could run a program, so it is not read") from error
    except Exception as error:  # PyTorch and zipfile raise RuntimeError, LookupError, UnicodeError, BadZipFile ... on damaged files
        raise ValueError(f"{path} is a damaged PyTorch file") from error
    if unpacked > MAX_UNPACKED:
        raise ValueError(f"{path} unpacks to more than {MAX_UNPACKED // 2**20} MiB; a word has less")
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__} and not tensors by name")
    return content, {}


def unpacked_bytes(path: Path) -> int:
    """Return the size that a PyTorch file, which is a zip archive, unpacks to; older ones are plain pickles and unpack to nothing."""
    if not zipfile.is_zipfile(path):
        return 0
    with zipfile.ZipFile(path) as archive:
        return sum(entry.file_size for entry in archive.infolist())


def load_pickle(path: Path) -> Any:
    """Return what a pickle holds if that is tensors and plain values; nothing in it is called."""
    # The paper's own code keeps the rows in a ParameterDict, a container that runs no code from the file.
    with torch.serialization.safe_globals([nn.ParameterDict]), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of protocols and sparse tensors; what is no word is refused
        # It gets the bytes, because PyTorch goes by the extension of a path.
        return torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
