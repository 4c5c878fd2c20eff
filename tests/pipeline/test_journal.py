"""Stages are recorded in a journal, which reaches dvc.lock once for all of them and is never lost."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tasks import artifacts
from tasks.pipeline import journal, repository

ROOT = Path(__file__).parents[2]
CONCEPTS = ("fox", "owl", "teapot")
LOCK = Path("dvc.lock")


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Path]:
    """A catalog whose concepts have curated pictures that no record names."""
    with contextlib.chdir(tmp_path):
        shutil.copy(ROOT / "dvc.yaml", "dvc.yaml")
        params = yaml.safe_load((ROOT / "params.yaml").read_text())
        params["concepts"] = {name: {"kind": "object", "placeholder_token": f"<{name}>", "initializer_token": "cat"} for name in CONCEPTS}
        Path("params.yaml").write_text(yaml.safe_dump(params))
        for name in CONCEPTS:
            artifacts.write_bytes(artifacts.images(name) / "1.png", name.encode())
            artifacts.write_bytes(artifacts.manifest(name), name.encode())
        repository.new_repo(Path())
        yield tmp_path


def record(repo: repository.CatalogRepo, concept: str) -> None:
    name = f"curate@{concept}"
    repository.record(repo, name, repository.snapshot(repo, name))


def recorded() -> list[str]:
    return sorted(yaml.safe_load(LOCK.read_text())["stages"]) if LOCK.exists() else []


def test_many_stages_are_written_to_the_lock_file_once(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []
    write = artifacts.write_bytes
    monkeypatch.setattr(artifacts, "write_bytes", lambda path, data: (written.append(path), write(path, data)))
    with repository.open_repo() as repo:
        for concept in CONCEPTS:
            record(repo, concept)
            assert repository.why(repo, f"curate@{concept}") == []
        assert written == []
    assert written == [LOCK]
    assert recorded() == [f"curate@{concept}" for concept in CONCEPTS]


def test_a_killed_build_leaves_what_it_recorded(catalog: Path) -> None:
    lines = ("import os; from tests.pipeline.test_journal import record, repository", "repo = repository.open_repo()")
    killed = "\n".join((*lines, "record(repo, 'fox'); record(repo, 'owl'); os._exit(9)"))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", killed], env=environment, check=False).returncode == 9
    assert recorded() == []
    with repository.open_repo() as repo:
        assert recorded() == ["curate@fox", "curate@owl"]
        assert repository.why(repo, "curate@fox") == []
    status = subprocess.run([sys.executable, "-m", "dvc", "status", "curate@fox", "curate@owl"], capture_output=True, text=True, check=True)
    assert "up to date" in status.stdout


def test_two_processes_record_side_by_side(catalog: Path) -> None:
    with repository.open_repo() as first:
        record(first, "fox")
        with repository.open_repo() as second:
            assert repository.why(second, "curate@fox") == []
            record(second, "owl")
            record(first, "teapot")
            assert repository.why(second, "curate@teapot") == []
    assert recorded() == [f"curate@{concept}" for concept in CONCEPTS]


def test_dvc_sees_what_is_recorded_before_it_does_anything(catalog: Path) -> None:
    with repository.open_repo() as repo:
        record(repo, "fox")
        repo.status(targets=["curate@fox"])
        assert recorded() == ["curate@fox"]


def test_a_line_that_was_cut_off_is_dropped(catalog: Path) -> None:
    repo = repository.open_repo()
    record(repo, "fox")
    with repo.journal.open("ab") as file:
        file.write(b'["curate@owl", "')
    record(repo, "teapot")
    repo.close()
    assert recorded() == ["curate@fox", "curate@teapot"]


def test_what_was_recorded_after_the_journal_stays(tmp_path: Path) -> None:
    path, entries = tmp_path / "journal", {"old": 1, "newer": 1}
    end = journal.append(path, 0, entries, "old", 2)
    journal.append(path, end, entries, "newer", 2)
    found = {"old": 1, "newer": 3}  # another command wrote `newer` since
    journal.replay(path, 0, found)
    assert found == {"old": 2, "newer": 3}
    journal.replay(path, 0, found)
    assert found == {"old": 2, "newer": 3}


def test_a_lock_file_that_cannot_be_written_keeps_the_journal(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    repo = repository.open_repo()
    record(repo, "fox")
    with monkeypatch.context() as patched:
        patched.setattr(artifacts, "write_bytes", full)
        with pytest.raises(OSError, match="No space left"):
            repo.close()
    repository.open_repo().close()
    assert recorded() == ["curate@fox"]
