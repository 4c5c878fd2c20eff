"""Parameters read by key are those that DVC reads."""

from pathlib import Path

import pytest
from dvc.dependency import param
from dvc.fs import localfs

from tasks.pipeline import parameters

KEYS = ["base", "concepts.fox", "concepts.nobody", "concepts.fox.kind", "concepts.fox.kind.more", "list", "nothing"]


@pytest.mark.parametrize("keys", [*([key] for key in KEYS), KEYS])
def test_the_values_are_those_of_dvc(keys: list[str], tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("base: {model: x}\nconcepts: {fox: {kind: object}, owl: {kind: null}}\nlist: [1, 2]\n", encoding="utf-8")
    assert param.read_param_file is parameters.read_param_file
    theirs = parameters.read_param_file.__defaults__[-1](localfs, str(path), keys, flatten=True)
    assert parameters.read_param_file(localfs, str(path), keys, flatten=True) == theirs
