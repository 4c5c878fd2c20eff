"""What is remembered for DVC is what it would compute: parameters by key, and the hash of a folder as long as no file changes."""

from pathlib import Path

import pytest
from dvc.dependency import param
from dvc.fs import localfs
from dvc.repo import Repo

from tasks import artifacts
from tasks.pipeline import remembered, repository

KEYS = ["base", "concepts.fox", "concepts.nobody", "concepts.fox.kind", "concepts.fox.kind.more", "list", "nothing"]


@pytest.mark.parametrize("keys", [*([key] for key in KEYS), KEYS])
def test_the_values_are_those_of_dvc(keys: list[str], tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("base: {model: x}\nconcepts: {fox: {kind: object}, owl: {kind: null}}\nlist: [1, 2]\n", encoding="utf-8")
    assert param.read_param_file is remembered.read_param_file
    theirs = remembered.read_param_file.__defaults__[-1](localfs, str(path), keys, flatten=True)
    assert remembered.read_param_file(localfs, str(path), keys, flatten=True) == theirs


def test_the_hash_of_a_folder_follows_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    repository.new_repo(tmp_path)
    for name in ("a/1", "a/b/2"):
        artifacts.write_bytes(Path("in") / name, name.encode())
    with Repo(".") as repo:
        stage = repo.run(name="x", cmd="true", deps=["in"], no_exec=True)
        theirs, ours, seen = remembered.hash_of.__defaults__[-1], remembered.hash_of, set()
        for change in (
            lambda: None,
            lambda: artifacts.write_bytes(Path("in/a/1"), b"other"),
            lambda: Path("in/a/b/2").rename("in/a/b/3"),
            lambda: Path("in/a/1").unlink(),
        ):
            change()
            seen.add(ours(stage.deps[0])[1].value)
            assert ours(stage.deps[0]) == ours(stage.deps[0]) == theirs(stage.deps[0])
        assert len(seen) == 4
