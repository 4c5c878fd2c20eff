"""Builds take turns: in a catalog, and on a GPU, which has the same name in every process."""

import fcntl
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from filelock import FileLock, Timeout

from tasks.artifacts import CACHE, machine_lock, write_bytes

log = logging.getLogger(__name__)
BUILD = CACHE / "build.lock"
HOLDER = CACHE / "build.pid"
HERE = threading.Lock()
"""Held by the thread of this process that draws on a CPU. Threads share a model, into which a word and its adapter are put while they are drawn."""


@contextmanager
def catalog_turn() -> Iterator[None]:
    """Hold the catalog of this folder, for two builds would restore and write the same files. A command that has to wait says so."""
    lock = FileLock(BUILD)
    try:
        lock.acquire(timeout=0.2)  # s; who looks whether a build is running holds the lock for a moment
    except Timeout:
        log.warning("a build of this catalog is at work; this command goes on when it has ended")
        lock.acquire()
    try:
        HOLDER.unlink(missing_ok=True)  # of a build that was killed, whose id may be another process's by now
        write_bytes(HOLDER, str(os.getpid()).encode())
        yield
    finally:
        HOLDER.unlink(missing_ok=True)
        lock.release()


def running_build() -> int | None:
    """Return the id of the process that builds this catalog, or None; 0 if it has not written its id yet."""
    if not BUILD.exists():
        return None
    try:
        with BUILD.open("rb") as lock:  # shared, so that two who look do not take each other for a build
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
    except BlockingIOError:
        try:
            return int(HOLDER.read_bytes())
        except FileNotFoundError:
            return 0


def gpu_name(device: str) -> str | None:
    """Return a name of a GPU that is the same in every process, whatever `CUDA_VISIBLE_DEVICES` says there; None for a CPU."""
    from tasks.diffusion.devices import pick_device

    picked = pick_device(device)
    if not picked.startswith("cuda"):
        return None if picked == "cpu" else picked
    import torch

    return f"gpu-{torch.cuda.get_device_properties(picked).uuid}"


def device_lock(device: str) -> AbstractContextManager:
    """Keep every other build on this machine off a GPU, however it was started; a CPU is shared."""
    name = gpu_name(device)
    return machine_lock(name) if name else nullcontext()


@contextmanager
def device_turn(device: str, waiting: Callable[[], object]) -> Iterator[None]:
    """Hold a device, and call `waiting` twice a second until it is free; what that raises ends the wait.

    A GPU is held as by `device_lock`, a CPU among the threads of this process alone.
    """
    name = gpu_name(device)
    lock = machine_lock(name) if name else HERE
    while not acquired(lock, 0.5):
        waiting()
    try:
        yield
    finally:
        lock.release()


def acquired(lock: "FileLock | threading.Lock", timeout: float) -> bool:
    """Say whether a lock could be taken within `timeout` seconds."""
    if not isinstance(lock, FileLock):
        return lock.acquire(timeout=timeout)
    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        return False
    return True
