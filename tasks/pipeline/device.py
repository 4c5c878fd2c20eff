"""Builds take turns: in a catalog, and on a GPU, which has the same name in every process."""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from filelock import FileLock, Timeout

from tasks.artifacts import CACHE, machine_lock

log = logging.getLogger(__name__)
BUILD = CACHE / "build.lock"


@contextmanager
def catalog_turn() -> Iterator[None]:
    """Hold the catalog of this folder, for two builds would restore and write the same files. A command that has to wait says so."""
    lock = FileLock(BUILD)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.warning("a build of this catalog is at work; this command goes on when it has ended")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def build_is_running() -> bool:
    """Tell whether a process builds this catalog."""
    try:
        with FileLock(BUILD, timeout=0):
            return False
    except Timeout:
        return True


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
