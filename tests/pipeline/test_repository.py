"""Opening a catalog that a killed process left."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks import artifacts
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


def test_a_whole_record_stays(catalog: None) -> None:
    RWLOCK.write_text(whole := '{"write": {}, "read": {"data/x": [{"pid": 1, "cmd": "dvc"}]}}')
    with repository.open_repo():
        assert RWLOCK.read_text() == whole
