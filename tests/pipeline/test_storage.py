"""What comes out of DVC's cache is what was recorded."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks import artifacts
from tasks.pipeline import repository, storage
from tasks.pipeline.catalog_repo import CatalogRepo

FOX = artifacts.images("fox")


def test_a_damaged_list_of_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    repository.new_repo(tmp_path)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "1.png").write_bytes(b"a picture")
    with repository.open_repo() as repo:
        repo.add("pictures")
        md5 = storage.recorded_md5(Path("pictures"))
        assert md5 is not None
        assert list(storage.recorded_files(repo, md5)) == ["1.png"]
        place = storage.cached(repo, md5)
        listed = json.loads(place.read_bytes())
        place.chmod(0o644)
        place.write_text(json.dumps([*listed, {**listed[0], "relpath": "2.png"}]))
        with pytest.raises(ValueError, match=r"is damaged: its md5 is not .*; delete it"):
            storage.recorded_files(repo, md5)


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CatalogRepo]:
    monkeypatch.chdir(tmp_path)
    repository.new_repo(tmp_path)
    Path("dvc.yaml").write_text("stages: {}\n")
    write("1.png", b"a picture")
    with repository.open_repo() as opened:
        yield opened


def write(name: str, data: bytes) -> None:
    (FOX / name).parent.mkdir(parents=True, exist_ok=True)
    (FOX / name).write_bytes(data)


def test_a_folder_is_tracked_as_dvc_add_tracks_it(repo: CatalogRepo) -> None:
    storage.track(repo, [FOX])
    ours = artifacts.pointer(FOX).read_text()
    artifacts.pointer(FOX).unlink()
    repo.add(str(FOX))
    assert artifacts.pointer(FOX).read_text() == ours
    assert repo.status() == {}


def test_only_a_changed_folder_is_committed(repo: CatalogRepo, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.track(repo, [FOX])
    committed: list[str] = []
    monkeypatch.setattr(repo, "commit", lambda pointer, force: committed.append(pointer))
    storage.track(repo, [FOX])
    assert committed == []
    write("2.png", b"another")
    storage.track(repo, [FOX])
    assert committed == [f"{FOX}.dvc"]


def test_files_that_the_cache_lost_are_committed_again(repo: CatalogRepo) -> None:
    storage.track(repo, [FOX])
    md5 = storage.recorded_md5(FOX)
    assert md5 is not None
    (picture,) = storage.recorded_files(repo, md5).values()
    storage.cached(repo, picture).unlink()
    storage.track(repo, [FOX])
    assert storage.cached(repo, picture).read_bytes() == b"a picture"


def test_files_of_somebody_else_that_are_not_here_yet_are_not_replaced(repo: CatalogRepo) -> None:
    storage.track(repo, [FOX])
    pointer = artifacts.pointer(FOX)
    pointer.write_text(pointer.read_text().replace(storage.recorded_md5(FOX) or "", "0123456789abcdef" * 2 + ".dir"))
    theirs = pointer.read_text()
    with pytest.raises(
        ValueError, match=r"fox.dvc names files that are not on this machine yet; run `wordmint pull` first, or .* `dvc add data/images/fox`"
    ):
        storage.track(repo, [FOX])
    assert pointer.read_text() == theirs
    repo.add(str(FOX))
    storage.track(repo, [FOX])
    write("2.png", b"another")
    storage.track(repo, [FOX])
    assert len(storage.recorded_files(repo, storage.recorded_md5(FOX) or "")) == 2


def test_a_folder_inside_a_tracked_one_is_refused(repo: CatalogRepo) -> None:
    repo.add(str(FOX.parent))
    with pytest.raises(ValueError, match=r"DVC tracks data/images as a whole, so it cannot track data/images/fox; run `dvc remove data/images.dvc`"):
        storage.track(repo, [FOX])
    assert not artifacts.pointer(FOX).exists()
