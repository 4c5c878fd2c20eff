"""The name of a GPU, and the lock by which builds take turns on it."""

from contextlib import AbstractContextManager, nullcontext

from tasks.artifacts import machine_lock


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
