"""The device that a stage runs on, and the lock by which builds take turns on a GPU."""

import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from filelock import FileLock


def gpu_name(device: str) -> str | None:
    """Return a name of a GPU that is the same in every process, whatever `CUDA_VISIBLE_DEVICES` calls it there; None of a CPU."""
    from tasks.diffusion.base_model import pick_device

    place = pick_device(device)
    if not place.startswith("cuda"):
        return None if place == "cpu" else place
    import torch

    return f"gpu-{torch.cuda.get_device_properties(place).uuid}"


def device_lock(device: str) -> AbstractContextManager:
    """Hold a GPU against every other build on this machine, whichever door it came through; a CPU is shared."""
    name = gpu_name(device)
    shared = Path("/dev/shm")  # where it is there, one for all users and services; temporary folders may be their own
    place = shared if shared.is_dir() else Path(tempfile.gettempdir())
    return FileLock(place / f"wordmint-{name}.lock", mode=0o666) if name else nullcontext()
