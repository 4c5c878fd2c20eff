"""Checkpoints of trainings: a process that was killed continues from them and reaches the same bytes."""

import json
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from tasks.faults import point
from tasks.inversion.training import Training

logger = logging.getLogger(__name__)


def checkpoint_of(training: Training, path: Path) -> Path:
    """Return the path of a training's checkpoint: `path` in the first phase, a file beside it in a later one."""
    return path if training.before is None else path.with_suffix(f".{training.phase}.pt")


def restored(training: Training, path: Path) -> Training:
    """Continue a training from its checkpoint, if there is one that can be read; it may come from another device."""
    if state := read_checkpoint(path):
        training.restore(state)
        step, steps = training.schedule.step, training.schedule.max_train_steps
        logger.info("%s continues its %s at optimizer step %d of %d", training.concept, training.phase, step, steps)
    return training


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """Return what `save_checkpoints` wrote, on the CPU; None where there is none or a power cut left it half written."""
    for moves in path.parent.glob(".checkpoints.*.moves"):
        complete(moves)
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, UnpicklingError) as error:
        logger.warning("checkpoint %s cannot be read and is ignored: %s", path, error)
        return None


def in_main_memory(state: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a training's state that no further step changes; a GPU may have no room for a second one."""
    return tree_map(lambda part: part.to("cpu", copy=True) if isinstance(part, Tensor) else part, state)


def save_checkpoints(states: Mapping[Path, dict]) -> None:
    """Write the checkpoints of a step. The trainings of a batch continue at the same step, so the moves into place are written down first."""
    temporaries = {path: path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in states}
    for path, state in states.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, temporaries[path])
    for folder in {path.parent for path in states}:
        moves, draft = folder / f".checkpoints.{os.getpid()}.moves", folder / f".moves.{os.getpid()}.tmp"
        draft.write_text(json.dumps({temporary.name: path.name for path, temporary in temporaries.items() if path.parent == folder}))
        os.replace(draft, moves)
        complete(moves)


def complete(moves: Path) -> None:
    """Move checkpoints into place; some of them may be there already, for a killed process began, or another one continues it too."""
    with suppress(FileNotFoundError):
        names = json.loads(moves.read_text())
        for temporary, name in names.items():
            with suppress(FileNotFoundError):
                os.replace(moves.with_name(temporary), moves.with_name(name))
            point("one checkpoint in place, the next not")
        moves.unlink()
