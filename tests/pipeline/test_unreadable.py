"""Files that people drop into a picture folder by hand and that DVC cannot read."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from tasks import artifacts
from tasks.concepts.captions import read_captions
from tasks.concepts.rights import read_rights
from tasks.pipeline import repository, storage
from tasks.pipeline.unreadable import unreadable


def listen(path: Path) -> None:
    """Bind a socket by a relative name, since an address has at most 107 bytes."""
    previous = Path.cwd()
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path.name)
    os.chdir(previous)


def loop(path: Path) -> None:
    path.symlink_to("other.png")
    path.with_name("other.png").symlink_to(path.name)


BAD: dict[str, tuple[bytes, Callable[[Path], object], str]] = {
    "pipe": (b"x.png", os.mkfifo, "is not a regular file; remove it"),
    "device": (b"x.png", lambda path: path.symlink_to("/dev/zero"), "is not a regular file; remove it"),
    "socket": (b"x.png", listen, "is not a regular file; remove it"),
    "loop": (b"x.png", lambda path: path.symlink_to(path.name), "is a link that leads nowhere; remove it"),
    "loop of two": (b"x.png", loop, "is a link that leads nowhere; remove it"),
    "broken link": (b"x.png", lambda path: path.symlink_to("none.png"), "is a link that leads nowhere; remove it"),
    "latin-1": (b"caf\xe9.png", lambda path: path.touch(), "is a name that is not UTF-8; rename it"),
    "pipe called by a line end and markup": (b"a\n[red]\x1b.png", os.mkfifo, r"a\n[red]\x1b.png is not a regular file; remove it"),
    "pipe in a folder": (b"deep/x.png", lambda path: (path.parent.mkdir(), os.mkfifo(path)), "is not a regular file; remove it"),
    "pipe for captions": (b"captions.yaml", os.mkfifo, "is not a regular file; remove it"),
}


@pytest.fixture
def spoilt(catalog: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """What is said of a bad file among the pictures of ink; the folder is whole again afterwards."""
    name, make, said = BAD[request.param]
    folder = artifacts.images("ink")
    before = set(folder.iterdir())
    make(Path(os.fsdecode(os.fsencode(folder) + b"/" + name)))
    yield said
    for path in set(folder.iterdir()) - before:
        if path.is_dir() and not path.is_symlink():
            (path / "x.png").unlink()
            path.rmdir()
        else:
            path.unlink()


@pytest.mark.parametrize("spoilt", BAD, indirect=True)
def test_a_bad_file_is_named_and_stops_no_command(spoilt: str) -> None:
    result = CliRunner().invoke(app, ["status"])
    assert result.exit_code == 0, result.output
    fox, ink = result.output.splitlines()
    assert fox == "fox  never built" and spoilt in ink
    with repository.open_repo() as repo, pytest.raises(ValueError) as refused:
        storage.track_inputs(repo, ["fox", "ink"])
    assert spoilt in str(refused.value) and str(refused.value).isprintable()
    with repository.open_repo() as repo, pytest.raises(ValueError) as refused:
        repository.snapshot(repo, "curate@ink")
    assert spoilt in str(refused.value)


def test_a_link_to_a_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "self").symlink_to(".")
    assert unreadable(tmp_path) is None and unreadable(tmp_path / "none") is None


def test_a_pipe_in_place_of_a_text_is_no_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    artifacts.images("fox").mkdir(parents=True)
    os.mkfifo(artifacts.rights("fox"))
    os.mkfifo(artifacts.images("fox") / "captions.yaml")
    with pytest.raises(ValueError, match=r"fox\.yaml is not a regular file"):
        read_rights("fox")
    with pytest.raises(ValueError, match=r"captions\.yaml is not a regular file"):
        read_captions(artifacts.images("fox"))
