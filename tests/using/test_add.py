"""Adding concepts to a catalog, by the command."""

import difflib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.serialize import parse_yaml
from PIL import Image
from typer.testing import CliRunner

from flows.cli.main import app
from tasks import artifacts
from tasks.concepts.rights import read_rights
from tasks.pipeline import storage
from tasks.settings import load_settings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh Git and DVC repository with the shipped params.yaml and three pictures beside it."""
    monkeypatch.chdir(tmp_path)
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, name)
    (tmp_path / "tasks").mkdir()
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, check=True, env=os.environ)
    for number in range(3):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(f"{number}.png")
    return tmp_path


RIGHTS = ("--source", "my camera", "--licence", "CC0-1.0", "--consent", "nobody is in them")


def add(*arguments: str, rights: tuple[str, ...] = RIGHTS) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["add", *arguments, *rights])
    return result.exit_code, result.output


def test_add_copies_tracks_and_keeps_the_comments(catalog: Path) -> None:
    comments = [line.partition("#")[2] for line in Path("params.yaml").read_text().splitlines() if "#" in line]
    code, output = add("mug", "0.png", "1.png", "2.png", "--word", "cup")
    assert code == 0, output
    assert load_settings().concept("mug").model_dump(exclude_none=True) == {
        "kind": "object",
        "placeholder_token": "<mug>",
        "initializer_token": "cup",
    }
    assert [line.partition("#")[2] for line in Path("params.yaml").read_text().splitlines() if "#" in line] == comments
    assert sorted(path.name for path in artifacts.images("mug").iterdir()) == ["0.png", "1.png", "2.png"]
    assert Path("data/images/mug.dvc").exists()
    assert read_rights("mug").tags() == {"source": "my camera", "licence": "CC0-1.0", "consent": "nobody is in them"}


@pytest.mark.parametrize(("name", "word"), [("no", "on"), ("mug", "yes"), ("1e3", "12:30"), ("010", "0o17"), ("true", "2024-01-01"), ("1_0", "~")])
def test_a_text_that_yaml_takes_for_something_else_stays_a_text(catalog: Path, name: str, word: str) -> None:
    before = Path("params.yaml").read_text()
    code, output = add(name, "0.png", "1.png", "2.png", "--word", word)
    assert code == 0, output
    assert load_settings().concept(name).initializer_token == word
    assert parse_yaml(text := Path("params.yaml").read_text(), "params.yaml")["concepts"][name]["initializer_token"] == word  # as DVC reads it
    assert not [line for line in difflib.ndiff(before.splitlines(), text.splitlines()) if line.startswith("- ")], "the rest stays as it is"


@pytest.mark.parametrize(("rights", "needed"), [((), "--source, --licence, --consent"), (RIGHTS[:4], "--consent")])
def test_whose_the_pictures_are_must_be_said(catalog: Path, rights: tuple[str, ...], needed: str) -> None:
    code, output = add("mug", "0.png", "--word", "cup", rights=rights)
    assert code == 1 and f"error: the pictures of 'mug' need {needed}; where one is not known, say why with --undeclared" in output
    assert not Path("data").exists()
    assert add("mug", "0.png", "--word", "cup", rights=(*rights, "--undeclared", "an experiment"))[0] == 0
    assert read_rights("mug").consent == "" and read_rights("mug").tags()["consent"] == "undeclared: an experiment"


def test_an_edit_meanwhile_is_kept(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    track = storage.track_inputs

    def edited(*given: Any) -> None:
        track(*given)
        Path("params.yaml").write_text(Path("params.yaml").read_text().replace("guidance_scale: ", "guidance_scale: 1"))

    before = load_settings().sample.guidance_scale
    monkeypatch.setattr(storage, "track_inputs", edited)
    assert add("mug", "0.png", "1.png", "2.png", "--word", "cup")[0] == 0
    assert load_settings().sample.guidance_scale == 10 + before and "mug" in load_settings().concepts


def test_a_failed_add_leaves_the_key_free(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*given: Any) -> None:
        raise OSError("no space left")

    before = Path("params.yaml").read_bytes()
    with monkeypatch.context() as broken:
        broken.setattr(storage, "track_inputs", failing)
        assert add("mug", "0.png", "1.png", "2.png", "--word", "cup") == (1, "error: no space left\n")
    assert Path("params.yaml").read_bytes() == before and not list(Path("data/images").iterdir())
    assert add("mug", "0.png", "1.png", "2.png", "--word", "cup")[0] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("a b", "0.png", "--word", "cup"),
        ("../x", "0.png", "--word", "cup"),
        ("fox", "0.png", "--word", "dog"),
        ("mug", "missing.png", "--word", "cup"),
        ("mug", "0.png", "0.png", "--word", "cup"),
        ("mug", "0.png", "--word", "cup", "--kind", "animal"),
    ],
)
def test_a_bad_add_changes_nothing(catalog: Path, arguments: tuple[str, ...]) -> None:
    before = Path("params.yaml").read_bytes()
    assert add(*arguments)[0] == 1
    assert Path("params.yaml").read_bytes() == before
    assert not Path("data").exists()


def test_a_catalog_that_registered_nothing_lists_nothing(catalog: Path) -> None:
    result = CliRunner().invoke(app, ["list", "--json"])
    assert (result.exit_code, result.output.strip()) == (0, "[]")
    assert not Path("mlruns").exists()


def test_an_interrupted_addition_is_repeated(catalog: Path) -> None:
    before = Path("params.yaml").read_bytes()
    assert add("mug", "0.png", "1.png", "2.png", "--word", "cup")[0] == 0
    Path("params.yaml").write_bytes(before)  # as if it was killed just before
    code, output = add("mug", "0.png", "1.png", "2.png", "--word", "cup")
    assert code == 0, output
    assert "mug" in load_settings().concepts


@pytest.mark.parametrize("pictures", [("0.png", "1.png"), ("data/images/mug/0.png", "data/images/mug/1.png", "data/images/mug/2.png")])
def test_other_pictures_of_a_key_are_not_replaced(catalog: Path, pictures: tuple[str, ...]) -> None:
    for number in range(3):
        artifacts.write_bytes(artifacts.images("mug") / f"{number}.png", Path(f"{number}.png").read_bytes())
    code, output = add("mug", *pictures, "--word", "cup")
    assert code == 1 and "has other files" in output
    assert len(list(artifacts.images("mug").iterdir())) == 3
