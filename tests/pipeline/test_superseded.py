"""What replaced results left in DVC's cache is found, and what a commit, a version or a file needs is not."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from flows.cli import versions
from flows.cli.main import app
from tasks.pipeline import repository, storage, superseded
from tasks.registry import connection, reading
from tasks.settings import Settings, load_settings
from tasks.versions import pruning
from tests.support.catalogs import ROOT

SEED = Path("seed")
STAGE = """stages:
  own:
    cmd: "rm -rf made; mkdir made; cp seed made/file"
    deps:
      - seed
    outs:
      - made
"""


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def build(text: str) -> None:
    """Build a result that nobody else has, an hour ago."""
    SEED.write_text(text)
    run("dvc", "repro")
    for path in Path(".dvc/cache").rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - 3600,) * 2)


def kept() -> set[str]:
    """Return the texts that DVC's cache has."""
    return {path.read_text() for path in Path(".dvc/cache/files").rglob("*") if path.is_file() and path.suffix != ".dir"}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A catalog under Git and DVC with one stage of its owner."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'user.name=tester' 'user.email=tester@example.org'")
    Path("params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    run("git", "init", "--quiet")
    repository.new_repo(tmp_path, with_git=True)
    Path("dvc.yaml").write_text(STAGE)
    yield load_settings()


def test_what_nothing_names_is_given_back(settings: Settings) -> None:
    build("committed")
    run("git", "add", "--all")
    run("git", "commit", "--quiet", "--message", "a result")
    for text in ("replaced", "staged", "present"):
        build(text)
        if text == "staged":
            run("git", "add", "--all")
    with repository.open_repo() as repo:
        before = len(superseded.entries(repo))
    (found,) = pruning.replaced_results(settings, 30)
    assert found.what.startswith("3 files of DVC's cache, ")  # the file, the list of its folder, and the entry of the run-cache
    assert pruning.replaced_results(settings, 120) == []
    assert kept() == {"committed", "replaced", "staged", "present"}
    pruning.delete([found])
    assert kept() == {"committed", "staged", "present"} and pruning.replaced_results(settings, 30) == []
    with repository.open_repo() as repo:
        assert len(superseded.entries(repo)) == before - 1
        assert repo.status() == {}
    SEED.write_text("committed")
    run("dvc", "repro")
    assert Path("made/file").read_text() == "committed"


def test_the_pictures_of_a_version_stay(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path("data/pictures")
    folder.mkdir(parents=True)
    for text in ("of a version", "of none", "present"):
        (folder / "1.png").write_text(text)
        with repository.open_repo() as repo:
            storage.track(repo, [folder])
        if text == "of a version":
            md5 = storage.recorded_md5(folder)
    monkeypatch.setattr(connection, "exists", lambda uri: True)
    monkeypatch.setattr(connection, "connect", lambda uri: None)
    monkeypatch.setattr(reading, "minted", lambda models: [SimpleNamespace(tags={"dataset_digest": md5, "digest": "of the word"})])
    pruning.delete(pruning.replaced_results(settings, 0))
    assert kept() == {"of a version", "present"}


def test_nothing_is_deleted_where_others_may_need_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    build("present")
    with monkeypatch.context() as patch:
        patch.setenv("GIT_DIR", "/nowhere")
        with repository.open_repo() as repo, pytest.raises(ValueError, match="Git cannot say which results its commits need"):
            superseded.superseded(repo, settings)
    run("dvc", "cache", "dir", str(tmp_path_factory.mktemp("shared")))
    with (
        repository.open_repo() as repo,
        pytest.raises(ValueError, match=r"DVC's cache .* lies outside this repository, and others may need what is in it"),
    ):
        superseded.superseded(repo, settings)


def test_the_command_shows_before_it_deletes(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "load_settings", lambda: settings)
    build("replaced")
    build("present")
    assert "replaced results" not in CliRunner().invoke(app, ["prune", "--hours", "0.5"]).output
    said = " ".join(CliRunner().invoke(app, ["prune", "--hours", "0.5", "--results"]).output.split())
    assert "replaced results; no commit, no version and nothing on disk names them" in said and "nothing is gone yet" in said
    assert kept() == {"replaced", "present"}
    assert "1 deleted" in CliRunner().invoke(app, ["prune", "--hours", "0.5", "--results", "--yes"]).output
    assert kept() == {"present"}
