"""Everything that is recorded reaches the remote that it belongs to, once."""

import shutil
from pathlib import Path

import pytest
from dvc.stage.cache import RunCacheNotSupported

from tasks.pipeline import repository, run_cache, sending
from tests.support.catalogs import dvc, new_with_remotes

STAGES = """stages:
  own:
    cmd: "mkdir made; cp seed made/file"
    deps:
      - seed
    outs:
      - made
"""


def files_of(remote: Path) -> dict[str, int]:
    """Return the contents that a remote has, as text, and when each was written."""
    return {
        path.read_text(): path.stat().st_mtime_ns
        for path in remote.rglob("*")
        if path.is_file() and "runs" not in path.parts and path.suffix != ".dir"
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog with a stage and files of its owner, a default remote, and another one."""
    place = tmp_path_factory.mktemp("place")
    with new_with_remotes(place / "catalog"):
        Path("dvc.yaml").write_text(STAGES)
        Path("seed").write_text("of the owner")
        dvc("repro")
        for name in ("pictures", "elsewhere", "private"):
            Path("data", name).mkdir(parents=True)
            Path("data", name, "file").write_text(name)
            dvc("add", f"data/{name}")
        for name, line in (("elsewhere", "remote: another"), ("private", "push: false")):
            with Path(f"data/{name}.dvc").open("a") as pointer:
                pointer.write(f"  {line}\n")
    return place


@pytest.fixture
def catalog(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the catalog, which the test is in, and of its remotes."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path / "catalog")
    return tmp_path


def test_what_the_owner_tracks_goes_where_it_belongs(catalog: Path) -> None:
    with repository.open_repo() as repo:
        sending.send(repo)
    sent = files_of(catalog / "team")
    assert {"pictures", "of the owner"} <= set(sent) and not {"elsewhere", "private"} & set(sent)
    assert set(files_of(catalog / "another")) == {"elsewhere"}
    with repository.open_repo() as repo:
        sending.send(repo)
    assert files_of(catalog / "team") == sent


def test_only_what_the_other_side_lacks_of_the_run_cache_is_sent(catalog: Path) -> None:
    with repository.open_repo() as repo:
        (entry,) = repo.stage_cache.push(None)
        sent = Path(run_cache.path_of(repo.cloud.get_remote_odb(hash_name="md5-dos2unix"), entry))
        (Path(run_cache.path_of(repo.cache.legacy, entry)).parent / ".half.tmp").write_text("of a killed writer")
        assert repo.stage_cache.push(None) == []
        sent.unlink()
        assert repo.stage_cache.pull(None) == [] and repo.stage_cache.push(None) == [entry]
        assert [path.name for path in sent.parent.iterdir()] == [sent.name]


def test_the_run_cache_of_an_http_remote_is_not_asked_for(catalog: Path) -> None:
    dvc("remote", "add", "web", "https://example.org/remote")
    with repository.open_repo() as repo, pytest.raises(RunCacheNotSupported, match="HTTP"):
        repo.stage_cache.push("web")
