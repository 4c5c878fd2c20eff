"""What an error says of another process that writes to the same catalog."""

import os
from pathlib import Path

import pytest

from tasks import artifacts
from tasks.pipeline.blockers import explained

GONE = FileNotFoundError(2, "No such file or directory", "data/curated/fox/manifest.json")


def writing(pid: int) -> None:
    artifacts.write_json(Path(".dvc/tmp/rwlock"), {"write": {"data/curated/fox": {"pid": pid, "cmd": "dvc repro"}}, "read": {}})


def test_a_missing_file_names_the_process_that_may_have_removed_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert explained(GONE) == str(GONE)
    writing(os.getppid())
    assert explained(GONE).startswith(f"{GONE}; the catalog is blocked by `dvc repro` (PID {os.getppid()}), which deletes results")
    assert explained(ValueError("the picture is broken")) == "the picture is broken"


@pytest.mark.parametrize("pid", [os.getpid(), 2**22 + 1], ids=["this one", "none, for Linux has no such number"])
def test_neither_this_process_nor_an_ended_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pid: int) -> None:
    monkeypatch.chdir(tmp_path)
    writing(pid)
    assert explained(GONE) == str(GONE)
