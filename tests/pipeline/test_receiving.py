"""Everything that is recorded comes from the remote that it belongs to, whole, and costs nobody a file."""

import os
import shutil
from pathlib import Path

import pytest
from dvc.fs import HTTPFileSystem

from tasks.pipeline import receiving, repository, sending, storage
from tests.support.catalogs import dvc, new_with_remotes

SETS = {"pictures": "of the team", "more": "also of the team", "elsewhere": "with a remote of its own"}
FETCHED = 9
"""Two files of each set and one of the owner's stage; where DVC itself fetches, it counts a folder's list too."""


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog that was pushed, its remotes, and a clone without data: a stage and files of its owner, a default remote, and another one."""
    place = tmp_path_factory.mktemp("place")
    with new_with_remotes(place / "pushed"):
        Path("seed").write_text("of the owner")
        dvc("stage", "add", "--run", "--name", "own", "--deps", "seed", "--outs", "made", "mkdir made; cp seed made/file")
        for name, content in SETS.items():
            Path("data", name, "below").mkdir(parents=True)
            Path("data", name, "file").write_text(content)
            Path("data", name, "below/file").write_text(f"below, {content}")
            dvc("add", f"data/{name}")
        with Path("data/elsewhere.dvc").open("a") as pointer:
            pointer.write("  remote: another\n")
        with repository.open_repo() as repo:
            sending.send(repo)
    clone(place / "pushed", place / "clone")
    return place


@pytest.fixture
def catalog(pushed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of all that is in the place; the test is in the clone."""
    shutil.copytree(pushed, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path / "clone")
    return tmp_path


def clone(folder: Path, to: Path) -> None:
    """Copy what Git has of a catalog."""
    (to / "data").mkdir(parents=True)
    shutil.copytree(folder / ".dvc", to / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp"))
    for path in [*folder.glob("data/*.dvc"), folder / "dvc.yaml", folder / "dvc.lock", folder / "seed"]:
        shutil.copy(path, to / path.relative_to(folder))


def receive() -> int:
    with repository.open_repo() as repo:
        return receiving.receive(repo, [])


def contents(name: str) -> dict[str, str]:
    return {path.relative_to(f"data/{name}").as_posix(): path.read_text() for path in Path("data", name).rglob("*") if path.is_file()}


def stored(where: Path, content: str) -> Path:
    """Return the file of a remote or cache that has a content."""
    (found,) = [path for path in where.rglob("*") if path.is_file() and path.read_text() == content]
    return found


def test_everything_comes_to_where_it_belongs_once(catalog: Path) -> None:
    assert receive() == FETCHED
    for name, content in SETS.items():
        assert contents(name) == {"file": content, "below/file": f"below, {content}"}
    assert Path("made/file").read_text() == "of the owner"
    assert "up to date" in dvc("status")
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("data/**/file")}
    assert receive() == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_what_the_cache_has_comes_back_without_being_fetched(catalog: Path) -> None:
    receive()
    Path("data/pictures/below/file").unlink()
    shutil.rmtree("data/more")
    assert receive() == 0
    assert len(contents("pictures")) == len(contents("more")) == 2


def test_a_changed_file_is_not_overwritten_and_nothing_else_is_changed(catalog: Path) -> None:
    receive()
    Path("data/pictures/below/file").write_text("my own work")
    Path("data/pictures/new").write_text("mine too")
    shutil.rmtree("data/more")
    with pytest.raises(ValueError, match=r"^data/pictures/below/file, data/pictures/new would be lost: .* `dvc add FOLDER`, or move it away$"):
        receive()
    assert Path("data/pictures/below/file").read_text() == "my own work" and not Path("data/more").exists()


def test_a_change_that_the_cache_has_is_replaced_by_what_git_names_now(catalog: Path) -> None:
    receive()
    pointer = Path("data/pictures.dvc").read_text()
    Path("data/pictures/file").write_text("a later state")
    with repository.open_repo() as repo:
        storage.track(repo, [Path("data/pictures")])
    Path("data/pictures.dvc").write_text(pointer)
    receive()
    assert Path("data/pictures/file").read_text() == SETS["pictures"]


@pytest.mark.parametrize("lost", ["below, of the team", None])
def test_a_set_that_the_remote_lacks_and_no_concept_needs_holds_up_nothing(catalog: Path, lost: str | None) -> None:
    with repository.open_repo() as repo:
        md5 = storage.recorded_md5(Path("data/pictures")) or ""
        gone = stored(catalog / "team", lost) if lost else Path(repo.cloud.get_remote_odb().oid_to_path(md5))
        data = gone.read_bytes()
        gone.unlink()
        assert receiving.receive(repo, []) == FETCHED - (1 if lost else 2)
        with repository.one_line(), pytest.raises(ValueError, match="neither in DVC's cache nor in its remote"):
            storage.recorded_files(repo, md5)
    assert len(contents("more")) == 2 and not contents("pictures")
    gone.write_bytes(data)
    receive()
    assert len(contents("pictures")) == 2


def test_what_a_concept_needs_and_the_remote_lacks_is_an_error(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.artifacts.inputs", lambda concept: [Path("data/pictures")])
    stored(catalog / "team", "below, of the team").unlink()
    with (
        repository.open_repo() as repo,
        pytest.raises(ValueError, match=r"remote lacks data/pictures/below/file; .* has to run `wordmint push`, with --every"),
    ):
        receiving.receive(repo, ["fox"])
    assert len(contents("more")) == 2


def test_what_the_remote_lost_comes_again_by_a_push_of_every_file(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(catalog / "team", "below, of the team").unlink()
    monkeypatch.chdir(catalog / "pushed")
    with repository.open_repo() as repo:
        sending.send(repo)  # as if nothing was lost: it asks for lists only
        assert not any(path.read_text() == "below, of the team" for path in (catalog / "team").rglob("*") if path.is_file())
        sending.send(repo, every_file=True)
    monkeypatch.chdir(catalog / "clone")
    assert receive() == FETCHED


def test_damaged_bytes_are_noticed_and_do_not_reach_the_disk(catalog: Path) -> None:
    damaged = stored(catalog / "team", SETS["pictures"])
    right = damaged.read_bytes()
    damaged.chmod(0o644)
    damaged.write_bytes(b"of the tean")
    damaged.chmod(0o444)
    with pytest.raises(
        ValueError, match=rf"has other bytes for data/pictures/file than were recorded; delete {damaged}, and run `wordmint push --every-file`"
    ):
        receive()
    assert not Path("data/pictures").exists()
    damaged.unlink()
    damaged.write_bytes(right)
    receive()
    assert contents("pictures")["file"] == SETS["pictures"]


def test_a_killed_pull_goes_on_where_it_was(catalog: Path) -> None:
    receive()
    stored(Path(".dvc/cache"), "below, of the team").unlink()
    torn = stored(Path(".dvc/cache"), SETS["pictures"])  # as one that the kill left unchecked
    torn.chmod(0o644)
    torn.write_text("of the")
    shutil.rmtree("data/pictures/below")
    Path("data/pictures/file").unlink()
    assert receive() == 2
    assert contents("pictures") == {"file": SETS["pictures"], "below/file": "below, of the team"}


def test_a_remote_that_is_away_is_one_error(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (catalog / "team").rename(catalog / "away")
    with pytest.raises(ValueError, match=f"^DVC's default remote {catalog / 'team'} is not there; mount it, or run"):
        receive()
    dvc("remote", "add", "--default", "web", "http://127.0.0.1:9/remote")
    monkeypatch.setattr(HTTPFileSystem, "exists", refuse)
    with pytest.raises(ValueError, match=r"^DVC's default remote http://127.0.0.1:9/remote cannot be reached: no route$"):
        receive()


def refuse(*_: object) -> None:
    raise RuntimeError("no route")


def test_what_nothing_records_any_more_is_deleted_unless_it_was_changed(catalog: Path) -> None:
    receive()
    for name in ("pictures", "more"):
        Path("data", f"{name}.dvc").unlink()
    Path("data/more/file").write_text("my own work")
    receive()
    assert not Path("data/pictures").exists() and contents("more")["file"] == "my own work"


def test_a_link_that_leads_nowhere_is_named(catalog: Path) -> None:
    Path("data/pictures").mkdir()
    os.symlink("nothing", "data/pictures/file")
    with pytest.raises(ValueError, match=r"data/pictures/file is a link that leads nowhere; remove it"):
        receive()


def test_a_conflict_in_the_record_of_one_set_leaves_the_others_alone(catalog: Path, caplog: pytest.LogCaptureFixture) -> None:
    Path("data/more.dvc").write_text("<<<<<<< ours\n" + Path("data/more.dvc").read_text())
    with repository.open_repo() as repo:
        receiving.fetch(repo, [Path("data/more"), Path("data/pictures")])
    assert len(contents("pictures")) == 2 and not contents("more")
    assert "data/more.dvc has the marks of a conflict in Git" in caplog.text
    with pytest.raises(ValueError, match=r"data/more\.dvc has the marks of a conflict"):
        storage.recorded_md5(Path("data/more"))


def test_single_folders_come_as_far_as_their_remotes_have_them(catalog: Path) -> None:
    stored(catalog / "team", SETS["more"]).unlink()
    with repository.open_repo() as repo:
        receiving.fetch(repo, [Path("data", name) for name in (*SETS, "unheard of")])
    assert len(contents("pictures")) == len(contents("elsewhere")) == 2 and not contents("more") and not Path("made").exists()
    shutil.rmtree("data/pictures")
    (catalog / "team").rename(catalog / "away")
    with repository.open_repo() as repo:
        receiving.fetch(repo, [Path("data/more"), Path("data/pictures")])
    assert not contents("more")
