"""The door that `dvc repro` uses: run one stage for one concept from the command line, without Prefect."""

import argparse
import atexit
import errno
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock

from tasks import artifacts
from tasks.rights import read_rights
from tasks.settings import Settings, load_settings

AWAY = (errno.EIO, errno.ESTALE, errno.EBUSY, errno.EHOSTUNREACH, errno.ENETUNREACH)


def run_stage(stage: Callable[[str, Settings], Path]) -> None:
    """Run `stage` for `--concept KEY`; an error of the user's is one line and exit code 1."""
    parser = argparse.ArgumentParser(description=(stage.__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--concept", required=True, help="a key under concepts in params.yaml")
    concept = parser.parse_args().concept
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with one_line_errors():
        settings = load_settings()
        settings.concept(concept)
        refuse_revoked(concept)
        read_rights(concept)  # better now than after an hour of training
        with device_lock(settings.runtime.device):
            print(stage(concept, settings))


def refuse_revoked(concept: str) -> None:
    """Stop a stage of a concept that was revoked, as far as this machine knows; `dvc repro` has no way to skip one.

    Raises:
        ValueError: its record says so.
    """
    record = artifacts.registered(concept)
    if record.exists() and (why := artifacts.read_json(record).get("revoked")):
        raise ValueError(f"concept {concept!r} was revoked: {why}; `wordmint reinstate {concept}` brings it back, `dvc repro --keep-going` goes on")


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


def transient(task: Any, run: Any, state: Any) -> bool:
    """Tell Prefect whether a task that failed may well succeed when it is tried again: a server or a file system was away for a moment."""
    error = state.result(raise_on_failure=False)
    while error is not None and not isinstance(error, (ConnectionError, TimeoutError)) and getattr(error, "errno", None) not in AWAY:
        error = error.__cause__ or error.__context__  # MLflow says the same of a server that is away and of one that refuses; its cause differs
    return error is not None


@contextmanager
def swift_end() -> Iterator[None]:
    """Let the process end, after a block that succeeds, without freeing its objects one by one, which takes seconds after torch and MLflow.

    What was to be done at the end before the block began is left out, but for the logs; what came later is done, Prefect's server among it.
    """

    def leave() -> None:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)

    atexit.register(leave)
    try:
        yield
    except BaseException as error:
        if not isinstance(error, SystemExit) or error.code:
            atexit.unregister(leave)
        raise


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an expected error into one line on stderr and exit code 1."""
    try:
        yield
    except (ValueError, OSError, FloatingPointError) as error:
        if os.environ.get("WORDMINT_TRACEBACK"):
            raise
        sys.exit(f"error: {error}")
