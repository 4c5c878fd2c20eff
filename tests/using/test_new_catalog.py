"""A catalog of its own: the tool is installed, and no checkout is anywhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from flows.cli.main import app
from tasks.diffusion.base_model import base_resolution, model_folder
from tasks.pipeline import repository
from tasks.settings import load_settings
from tasks.shipped import folder_of, shipped
from tasks.similarity.scorer import load_scorer
from tests.support.catalogs import ROOT, draw_picture


def invoke(*command: str) -> str:
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_new_catalog_has_nothing_to_do_and_takes_a_concept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "next: cd mine" in invoke("init", "mine")
    monkeypatch.chdir(tmp_path / "mine")
    settings = load_settings()
    assert settings.concepts == {} and settings.base.model == "emoji-ldm" and settings.scorer.model == "emoji-clip"
    assert "# the frozen text-to-image model" in Path("params.yaml").read_text()
    assert Path(".git").is_dir() and Path(".dvc").is_dir()
    assert "tasks.pipeline.merge_driver" in Path(".git/config").read_text()
    assert "no concepts yet; add one with `wordmint add" in invoke("status").replace("\n", " ")
    for number in range(3):
        draw_picture(tmp_path / f"{number}.png", number)
    pictures = [str(tmp_path / f"{number}.png") for number in range(3)]
    invoke("add", "mug", *pictures, "--word", "coffee", "--source", "me", "--licence", "CC0-1.0", "--consent", "none")
    assert "concepts_per_batch: null " in Path("params.yaml").read_text()
    assert "concepts:\n  mug:\n    kind: object" in Path("params.yaml").read_text()
    assert "mug" in invoke("status")


def test_the_example_has_the_shipped_concepts_and_their_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    invoke("init", "b", "--example")
    monkeypatch.chdir(tmp_path / "b")
    assert list(load_settings().concepts) == list(load_settings(ROOT / "params.yaml").concepts)
    assert len(list(Path("data/images/fox").glob("*.png"))) == 4
    with repository.open_repo() as repo:
        assert repository.why(repo, "curate@fox") == ["never built"]


def test_an_empty_folder_stays_the_one_that_a_shell_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    invoke("init", ".")
    assert load_settings().concepts == {} and not Path("catalog").exists() and Path(".git").is_dir()
    assert Path("README.md").read_text().startswith("# mine\n")
    assert os.listdir("..") == ["mine"]


def test_a_catalog_inside_a_repository_leaves_its_index_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet"], check=True)
    Path("notes").write_text("of the owner")
    subprocess.run(["git", "add", "notes"], check=True)
    invoke("init", "mine")
    status = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    assert status.splitlines() == ["A  notes", "?? mine/"]
    monkeypatch.chdir(tmp_path / "mine")
    with repository.open_repo() as repo:
        assert repo.stages() is not None and not Path(".git").exists()


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    result = CliRunner().invoke(app, ["init", "full"])
    assert "is not empty; name a new folder" in str(result.exception) + result.output
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.txt"]


def test_embedded_models_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert model_folder("emoji-ldm", None) == shipped("data", "base", "emoji-ldm") == folder_of("emoji-ldm")
    assert base_resolution("emoji-ldm", "7d157b47ee53") == 64
    scorer = load_scorer.__wrapped__("emoji-clip", "f8dfbba0bab4", "cpu")
    assert scorer.identity["model"] == "emoji-clip"
    with pytest.raises(ValueError, match=r"the scorer's `pretrained` is 000000, but the weights in .* are f8dfbba0bab4"):
        load_scorer.__wrapped__("emoji-clip", "000000", "cpu")
    assert folder_of("stable-diffusion-v1-5/stable-diffusion-v1-5") is None


@pytest.mark.services
def test_an_installed_wheel_needs_no_checkout(tmp_path: Path) -> None:
    """The wheel lies alone in a folder; what it needs comes from this environment."""
    subprocess.run([sys.executable, "-m", "uv", "build", "--quiet", "--wheel", "--out-dir", str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True)
    home = tmp_path / "home"
    home.mkdir()
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PYTHONPATH": str(site), "HOME": str(home), "PATH": path}

    def wordmint(*command: str, folder: Path) -> str:
        whole = [sys.executable, "-m", "flows.cli.main", *command]
        done = subprocess.run(whole, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    wordmint("init", "mine", folder=tmp_path)
    mine = tmp_path / "mine"
    where = subprocess.run([sys.executable, "-c", "import tasks; print(tasks.__file__)"], cwd=mine, env=environment, capture_output=True, text=True)
    assert where.stdout.startswith(str(site))
    wordmint("init", "shelf", "--example", folder=tmp_path)
    pictures = sorted(map(str, (tmp_path / "shelf/data/images/fox").glob("*.png")))
    wordmint("add", "mug", *pictures, "--word", "teddy", "--undeclared", "a test", folder=mine)
    params = yaml.safe_load((mine / "params.yaml").read_text())
    params["invert"]["max_train_steps"] = 4
    params["invert"]["options"]["steps"] = 2
    params["sample"] |= {"num_inference_steps": 2, "pictures_per_prompt": 2, "reference_pictures": 2}
    (mine / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    assert "v1 champion" in wordmint("build", folder=mine)
    assert "mug" in wordmint("list", "--json", folder=mine)
    assert ".png" in wordmint("imagine", "a photo of a <mug>", "-n", "1", folder=mine)
    repro = subprocess.run([sys.executable, "-m", "dvc", "repro"], cwd=mine, env=environment, capture_output=True, text=True, check=True)
    assert "Data and pipelines are up to date." in repro.stdout
    assert "fox" in wordmint("status", folder=tmp_path / "shelf")
