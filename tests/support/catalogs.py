"""A catalog of two concepts on tiny random models, as tests build it for real."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tasks import artifacts
from tasks.concepts.captions import read_captions
from tasks.pipeline import repository, storage
from tasks.settings import Settings
from tests.support.tiny import save_tiny_eye

ROOT = Path(__file__).parents[2]
CONCEPTS = {
    "fox": {"kind": "object", "placeholder_token": "<fox>", "initializer_token": "dog"},
    "ink": {"kind": "style", "placeholder_token": "<ink>", "initializer_token": "cartoon"},
}


def draw_picture(path: Path, seed: int) -> None:
    """Draw a picture of blocks that no other seed gives."""
    blocks = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(blocks).resize((96, 96), Image.Resampling.NEAREST).save(path)


def captioned(folder: Path, text: str) -> dict[str, str]:
    """Write a captions.yaml and return its captions."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "captions.yaml").write_text(text, encoding="utf-8")
    return read_captions(folder)


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program in the catalog; `python` and `dvc` are this environment's."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


def dvc(*arguments: str, **environment: str) -> str:
    result = run(sys.executable, "-m", "dvc", *arguments, **environment)
    assert result.returncode == 0, result.stderr
    return result.stdout


@contextmanager
def new_with_remotes(folder: Path) -> Iterator[None]:
    """Make an empty catalog that has a default remote, `team`, and another one, `another`, both beside it; be in it while the block runs."""
    folder.mkdir()
    with chdir(folder):
        repository.new_repo(folder)
        for name in ("team", "another"):
            Path("..", name).mkdir()
            dvc("remote", "add", name, f"../{name}")
        dvc("remote", "default", "team")
        yield


def edit_params(**sections: dict) -> None:
    params = yaml.safe_load(Path("params.yaml").read_text())
    for section, values in sections.items():
        params[section].update(values)
    Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


def fill_catalog(database: Path, base: Path) -> Settings:
    """Return the shipped settings, and make this folder an empty catalog that has the tiny base model, pictures of a fox and a database."""
    Path("mlruns").mkdir()
    shutil.copy(database, "mlruns/mlflow.db")
    shutil.copytree(base, "data/base/tiny")
    artifacts.images("fox").mkdir(parents=True)
    (artifacts.images("fox") / "1.png").write_bytes(b"a picture")
    artifacts.pointer(artifacts.images("fox")).write_text(f"outs:\n- md5: {'0123456789abcdef' * 2}.dir\n  path: fox\n", encoding="utf-8")
    artifacts.rights("fox").write_text("{source: a test, licence: CC0-1.0, consent: it shows nobody}", encoding="utf-8")
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["base"] = {"model": "data/base/tiny", "revision": None}
    values["invert"] |= {"method": "norm_held", "options": {}}
    values["score"]["fidelity"] = None
    return Settings.model_validate(values)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory, tiny_base_folder: Path, tiny_scorer_folder: Path) -> Iterator[Path]:
    """A Git and DVC repository with two concepts; the tests of this module change it one after the other."""
    folder = tmp_path_factory.mktemp("catalog")
    previous = Path.cwd()
    os.chdir(folder)
    make_catalog(tiny_base_folder, tiny_scorer_folder)
    yield folder
    os.chdir(previous)


def make_catalog(tiny_base_folder: Path, tiny_scorer_folder: Path) -> None:
    """Make this empty folder a Git and DVC repository with two concepts, to be built on tiny models."""
    Path("tasks").mkdir()
    shutil.copy(ROOT / "dvc.yaml", "dvc.yaml")
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    shutil.copytree(tiny_base_folder, "data/base/tiny")
    shutil.copytree(tiny_scorer_folder, "data/base/tiny-clip")
    save_tiny_eye(Path("data/base/tiny-eye"))
    shutil.copy(ROOT / "data" / ".gitignore", "data/.gitignore")
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["concepts"] = CONCEPTS
    Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    edit_params(
        base={"model": "data/base/tiny", "revision": None},
        scorer={"model": "local-dir:data/base/tiny-clip", "pretrained": None},
        curate={"min_similarity": -1.0},
        invert={"method": "norm_held", "options": {}, "max_train_steps": 40, "batch_size": 2},
        sample={"num_inference_steps": 2, "pictures_per_prompt": 2},
        score={"fidelity": {"model": "data/base/tiny-eye", "revision": None}},
        register={"floor": False},  # of a random model
        runtime={"checkpoint_every": 5, "device": "cpu"},
    )
    for number, concept in enumerate(CONCEPTS):
        for picture in range(3):
            draw_picture(artifacts.images(concept) / f"{picture}.png", 10 * number + picture)
        artifacts.rights(concept).write_text("undeclared: drawn for this test")
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, check=True)
    with repository.open_repo() as repo:
        storage.track_inputs(repo, list(CONCEPTS))
