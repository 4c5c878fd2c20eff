"""Locks of this machine, and the name of a GPU, which is the lock by which builds take turns on it."""

import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from filelock import FileLock


def gpu_name(device: str) -> str | None:
    """Return a name of a GPU that is the same in every process, whatever `CUDA_VISIBLE_DEVICES` says there; None for a CPU."""
    from tasks.diffusion.base_model import pick_device

    picked = pick_device(device)
    if not picked.startswith("cuda"):
        return None if picked == "cpu" else picked
    import torch

    return f"gpu-{torch.cuda.get_device_properties(picked).uuid}"


def device_lock(device: str) -> AbstractContextManager:
    """Keep every other build on this machine off a GPU, however it was started; a CPU is shared."""
    name = gpu_name(device)
    return machine_lock(name) if name else nullcontext()


def machine_lock(name: str) -> FileLock:
    """Return a lock that all processes of this machine share, whoever started them and in whatever folder."""
    shared = Path("/dev/shm")  # all users and services see the same one; each may have a temporary folder of its own
    folder = shared if shared.is_dir() else Path(tempfile.gettempdir())
    return FileLock(folder / f"wordmint-{name}.lock", mode=0o666)
