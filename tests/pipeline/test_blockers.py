"""What an error says of another process that writes to the same catalog."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks import artifacts
from tasks.pipeline.blockers import explained

GONE = FileNotFoundError(2, "No such file or directory", "data/curated/fox/manifest.json")


@pytest.fixture
def another() -> Iterator[int]:
    """The PID of a process that is neither this one nor one that started it."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process.pid
        process.kill()


@pytest.fixture(autouse=True)
def _in_a_catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def writing(pid: int) -> None:
    place = str(Path("data/curated/fox").absolute())
    artifacts.write_json(Path(".dvc/tmp/rwlock"), {"write": {place: {"pid": pid, "cmd": "dvc repro"}}, "read": {}})


def test_a_missing_file_names_the_process_that_may_have_removed_it(another: int) -> None:
    assert explained(GONE) == str(GONE)
    writing(another)
    assert explained(GONE).startswith(f"{GONE}; the catalog is blocked by `dvc repro` (PID {another}), which deletes results")
    assert explained(ValueError("the picture is broken")) == "the picture is broken"


def test_a_file_elsewhere_is_missing_for_another_reason(another: int) -> None:
    writing(another)
    for place in ("data/curated/fox-2/manifest.json", "typo.png"):
        elsewhere = FileNotFoundError(2, "No such file or directory", place)
        assert explained(elsewhere) == str(elsewhere)
    assert explained(FileNotFoundError("no such picture")) == "no such picture"


@pytest.mark.parametrize("pid", [os.getpid(), os.getppid(), 2**22 + 1], ids=["this one", "the one that started it", "none, Linux has no such number"])
def test_neither_this_process_nor_its_parent_nor_an_ended_one_is_named(pid: int) -> None:
    writing(pid)
    assert explained(GONE) == str(GONE)
