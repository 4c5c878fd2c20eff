"""Opening a catalog that a killed process left."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tasks import artifacts
from tasks.documents import read_yaml
from tasks.pipeline import repository
from tests.support.catalogs import ROOT

RWLOCK = Path(".dvc/tmp/rwlock")


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[None]:
    with contextlib.chdir(tmp_path):
        for name in ("dvc.yaml", "params.yaml"):
            shutil.copy(ROOT / name, name)
        for number in range(3):
            artifacts.write_bytes(artifacts.images("fox") / f"{number}.png", b"a picture")
        repository.new_repo(Path())
        RWLOCK.parent.mkdir(exist_ok=True)
        yield


@pytest.mark.parametrize("left", ["", '{"write": {"data/curated/fox": {"pid": 1,'])
def test_a_record_that_was_half_written_stops_nothing(catalog: None, left: str) -> None:
    """DVC writes it in place, so a process that is killed meanwhile leaves it empty or torn; DVC then refuses everything."""
    RWLOCK.write_text(left)
    with repository.open_repo() as repo:
        assert not RWLOCK.exists()
        repo.add("data/images/fox")
    assert artifacts.pointer(artifacts.images("fox")).exists()


def test_what_a_failed_restore_half_wrote_gives_way_to_what_was_there(catalog: None) -> None:
    folder, file, new = Path("made"), Path("scores.json"), Path("new")
    artifacts.write_bytes(folder / "1.png", b"a picture")
    file.write_text("old")
    with pytest.raises(OSError, match="no space left"), repository.set_aside([folder, file, new]):
        artifacts.write_bytes(folder / "2.png", b"half")
        artifacts.write_bytes(new / "half", b"half")
        file.write_text("ha")
        raise OSError("no space left")
    assert file.read_text() == "old" and [path.name for path in folder.iterdir()] == ["1.png"] and not new.exists()


def test_a_whole_record_stays(catalog: None) -> None:
    RWLOCK.write_text(whole := '{"write": {}, "read": {"data/x": [{"pid": 1, "cmd": "dvc"}]}}')
    with repository.open_repo():
        assert RWLOCK.read_text() == whole


def test_what_dvc_lists_in_memory_does_not_pile_up(catalog: None) -> None:
    """It looks through all of it for each new list: ten thousand concepts took hours instead of minutes."""
    artifacts.write_bytes(artifacts.curated("fox") / "1.png", b"a picture")
    with repository.open_repo() as repo:
        repo.add("data/images/fox")
        before = set(MemoryFileSystem.store)
        with repository.recording(repo, "curate@fox"):
            pass
        assert not repository.why(repo, "curate@fox") and repository.why(repo, "invert@fox")
    assert set(MemoryFileSystem.store) == before


def test_the_report_is_not_in_the_run_cache(catalog: None) -> None:
    """Its entry has every concept; a stage of the owner is kept."""
    declarations = Path("dvc.yaml").read_text()
    Path("dvc.yaml").write_text(declarations + "  mine:\n    cmd: echo\n    deps: [params.yaml]\n    outs: [mine]\n")
    for path in (artifacts.CARDS / "fox.json", artifacts.REPORT / "index.html", artifacts.REPORT / "pictures/1.png", Path("mine")):
        artifacts.write_bytes(path, b"content")
    kept = []
    with repository.open_repo() as repo:
        for name in ("report", "mine"):
            with repository.recording(repo, name):
                pass
            kept.append([entry["cmd"] for path in Path(repo.stage_cache.cache_dir).rglob("*") if path.is_file() for entry in [read_yaml(path)]])
            assert not repository.why(repo, name)
    assert kept == [[], ["echo"]]
