"""Every method after `kill -9`, in its training and in its tuning: the bytes are those of an undisturbed run."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch._subclasses import FakeTensorMode

from tasks.diffusion import ddim
from tasks.diffusion.base_model import BaseModel, load_base_model
from tasks.inversion.checkpoints import in_main_memory
from tasks.inversion.curves import curves_csv
from tasks.inversion.loop import train
from tasks.inversion.methods import METHODS
from tasks.inversion.options import EarlyStop
from tasks.inversion.picking import probed
from tasks.inversion.training import Training
from tests.support.words import PICTURES, make, pick

EVERY = 2  # steps between checkpoints
KILLS = {"training": lambda word: word.schedule.step == 5, "tuning": lambda word: word.phase == "tuning" and word.schedule.step == 3}


def learn(base: BaseModel, scorer: Path, folder: Path, on_step: Callable[[Training], object] = lambda word: None) -> dict[str, bytes]:
    """Train a word of each method in company, each with the early stop's looks and probes, and return what they learned and their curves."""
    words = [probed(base, make(base, name), pick(scorer, every=3), PICTURES, "cpu") for name in METHODS]
    for word in words:
        word.schedule.early_stop = EarlyStop(every=2, pictures=2, window=9, ratio=0.1)
    checkpoints, learned = {word.concept: folder / f"{word.concept}.pt" for word in words}, {}
    for word in train(base, words, checkpoints, EVERY, on_step=on_step):
        assert word.result is not None, word.error
        tensors = [word.result.rows, *(factor for _, change in sorted(word.result.adapter.items()) for factor in change if factor is not None)]
        learned[word.concept] = b"".join(tensor.numpy().tobytes() for tensor in tensors) + curves_csv(word.schedules)
    return learned


def test_a_copy_for_a_checkpoint_takes_no_memory_of_a_gpu() -> None:
    with FakeTensorMode():  # has devices that the machine has not
        rows, moment = torch.zeros(2, device="cuda"), torch.ones(2)
        copy = in_main_memory({"rows": rows, "optimizer": {"state": {0: {"exp_avg": moment}}}, "recorded": (recorded := [(1, 0.5)])})
    assert (rows.device.type, copy["rows"].device.type) == ("cuda", "cpu")
    assert copy["optimizer"]["state"][0]["exp_avg"] is not moment
    assert copy["recorded"] == recorded and copy["recorded"] is not recorded


@pytest.mark.slow
def test_every_method_ends_with_the_same_bytes_after_a_kill(
    base: BaseModel, tiny_base_folder: Path, tiny_scorer_folder: Path, tmp_path: Path
) -> None:
    undisturbed = learn(base, tiny_scorer_folder, tmp_path / "undisturbed")
    for kill in KILLS:
        command = [
            sys.executable,
            "-m",
            "tests.inversion.test_checkpoints",
            kill,
            *map(str, (tiny_base_folder, tiny_scorer_folder, tmp_path / "killed")),
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
        assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL, kill
    steps: list[int] = []
    assert learn(base, tiny_scorer_folder, tmp_path / "killed", lambda word: steps.append(word.schedule.step)) == undisturbed
    assert min(steps) == 3  # the two tunings and the word that waited for room go on from their checkpoints; all else was done


if __name__ == "__main__":
    kill, base_folder, scorer_folder, place = sys.argv[1:]

    def die(word: Training) -> None:
        if KILLS[kill](word):
            deadline = time.monotonic() + 60
            while kill == "tuning" and len(list(Path(place).glob("*.tuning.pt"))) < 2 and time.monotonic() < deadline:
                time.sleep(0.05)  # a thread writes the checkpoints
            os.kill(os.getpid(), signal.SIGKILL)

    ddim.fast_bfloat16 = lambda device: False  # as in the process that compares, for conftest.py
    learn(load_base_model(base_folder, None, "cpu"), Path(scorer_folder), Path(place), die)
