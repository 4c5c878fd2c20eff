"""push and pull between two clones of a catalog, through real remotes; its stages are recorded without being run."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from flows.cli.main import app
from tasks import artifacts
from tasks.pipeline import receiving, repository, storage
from tasks.pipeline.graph import STAGES
from tasks.settings import load_settings
from tasks.versions import sharing
from tests.support.catalogs import ROOT, draw_picture
from tests.support.services import BUCKET_KEYS, s3

RESULTS = {
    "curate": artifacts.manifest("fox"),
    "invert": artifacts.learned_embeds("fox"),
    "sample": artifacts.samples_record("fox"),
    "score": artifacts.scores("fox"),
    "register": artifacts.registered("fox"),
}
STALE = [f"{stage}@fox" for stage in STAGES]


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stderr}"


def dvc(*arguments: str) -> None:
    run(sys.executable, "-m", "dvc", *arguments)


def git(*arguments: str) -> None:
    run("git", "-c", "user.name=tester", "-c", "user.email=tester@example.org", *arguments)


def build() -> None:
    """Leave what a build leaves: results, dvc.lock, the run-cache."""
    with repository.open_repo() as repo:
        storage.track_inputs(repo, ["fox"])
        for stage, path in RESULTS.items():
            with repository.recording(repo, f"{stage}@fox"):
                artifacts.write_json(path, {"result of": stage})
        with repository.recording(repo, "page@fox"):
            artifacts.write_bytes(artifacts.page("fox") / "index.html", b"a page")
            artifacts.write_bytes(artifacts.CURVES / "fox/loss.csv", b"step,loss")
            artifacts.write_json(artifacts.card("fox"), {"card of": "fox"})
        with repository.recording(repo, "report"):
            artifacts.write_bytes(artifacts.REPORT / "index.html", b"an index")
            artifacts.write_bytes(artifacts.REPORT / "pictures/0.webp", b"a picture")


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, " ".join(result.output.split())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A repository with one built concept and the remote `team`, the folder beside it; not committed yet."""
    folder, previous = tmp_path_factory.mktemp("built") / "ann", Path.cwd()
    (folder / "tasks").mkdir(parents=True)
    os.chdir(folder)
    for name in ("dvc.yaml", ".gitignore", ".gitattributes"):
        Path(name).write_bytes((ROOT / name).read_bytes())
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["concepts"] = {"fox": {"kind": "object", "placeholder_token": "<fox>", "initializer_token": "dog"}}
    Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    for number in range(3):
        draw_picture(artifacts.images("fox") / f"{number}.png", number)
    artifacts.rights("fox").write_text("undeclared: drawn for this test", encoding="utf-8")
    git("init", "--quiet")
    repository.Repo.init()
    Path(".dvc/config").write_text("[core]\n    remote = team\n['remote \"team\"']\n    url = ../../remote\n", encoding="utf-8")
    build()
    yield folder
    os.chdir(previous)


@pytest.fixture
def catalog(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it for one test."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(shutil.copytree(built, tmp_path / "ann"))
    return tmp_path / "ann"


def second_clone(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git("add", "--all")
    git("commit", "--quiet", "--message", "a catalog")
    git("clone", "--quiet", str(catalog), "../ben")
    monkeypatch.chdir(catalog.parent / "ben")


@pytest.mark.slow
def test_a_catalog_goes_through_a_bucket(catalog: Path, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    s3(bucket).create_bucket(Bucket="catalog")
    for name, value in BUCKET_KEYS.items():
        monkeypatch.setenv(name, value)
    dvc("remote", "add", "--default", "--force", "team", "s3://catalog/wordmint")
    dvc("remote", "modify", "team", "endpointurl", bucket)
    code, output = invoke("push")
    assert code == 0 and output.startswith("sent to DVC's default remote")
    second_clone(catalog, monkeypatch)
    code, output = invoke("pull")
    assert code == 0 and output.endswith("files fetched every concept is up to date")
    assert s3(bucket).list_objects_v2(Bucket="catalog", Prefix="wordmint/runs/")["KeyCount"] == len(STAGES) + 1  # and the page
    for path in (*RESULTS.values(), artifacts.images("fox") / "0.png", artifacts.REPORT / "index.html"):
        assert path.read_bytes() == (catalog / path).read_bytes()


def test_what_dvc_lock_does_not_have_comes_from_the_run_cache(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sharing.push(load_settings())
    lock = yaml.safe_load(Path("dvc.lock").read_text(encoding="utf-8"))
    lock["stages"] = {"report": lock["stages"]["report"]}
    Path("dvc.lock").write_text(yaml.safe_dump(lock), encoding="utf-8")
    second_clone(catalog, monkeypatch)
    pulled = sharing.pull(load_settings())
    assert (pulled.restored, pulled.stale) == (STALE, {})
    assert artifacts.read_json(RESULTS["invert"]) == {"result of": "invert"}
    assert list(yaml.safe_load(Path("dvc.lock").read_text(encoding="utf-8"))["stages"]) == ["report", *STALE, "page@fox"]


def test_changed_pictures_are_sent_and_what_nobody_built_is_said(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_picture(artifacts.images("fox") / "3.png", 3)
    sharing.push(load_settings())
    second_clone(catalog, monkeypatch)
    code, output = invoke("pull")
    assert code == 0 and output.endswith("to build: fox; see `wordmint status`")
    assert (artifacts.images("fox") / "3.png").exists()
    assert sharing.pull(load_settings()).stale["curate@fox"] == ["data/images/fox modified"]


def test_pictures_of_somebody_else_are_not_replaced_before_they_are_pulled(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sharing.push(load_settings())
    second_clone(catalog, monkeypatch)
    sharing.pull(load_settings())
    draw_picture(artifacts.images("fox") / "0.png", 9)
    sharing.push(load_settings())
    theirs = artifacts.pointer(artifacts.images("fox")).read_bytes()
    monkeypatch.chdir(catalog)
    artifacts.pointer(artifacts.images("fox")).write_bytes(theirs)  # what `git pull` does
    code, output = invoke("push")
    assert code == 1 and "run `wordmint pull` first" in output
    assert artifacts.pointer(artifacts.images("fox")).read_bytes() == theirs
    assert invoke("pull")[0] == invoke("push")[0] == 0
    assert artifacts.pointer(artifacts.images("fox")).read_bytes() == theirs


def test_names_without_things_are_told(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sharing.push(load_settings())
    draw_picture(artifacts.images("fox") / "3.png", 3)
    build()
    second_clone(catalog, monkeypatch)
    code, output = invoke("pull")
    assert code == 1 and output.startswith("error: ") and output.endswith("whoever committed their .dvc files or dvc.lock has to run `wordmint push`")


def test_pictures_that_nobody_sent_hold_up_no_others(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sharing.push(load_settings())
    draw_picture(artifacts.images("owl") / "0.png", 3)
    with repository.open_repo() as repo:
        storage.track_inputs(repo, ["owl"])
    second_clone(catalog, monkeypatch)
    with repository.open_repo() as repo:
        receiving.fetch_inputs(repo, ["owl", "fox"])
    assert artifacts.images("fox").is_dir() and not list(artifacts.images("owl").glob("*"))


def test_an_unrecorded_picture_is_not_overwritten(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sharing.push(load_settings())
    second_clone(catalog, monkeypatch)
    sharing.pull(load_settings())
    own = artifacts.images("fox") / "own.png"
    draw_picture(own, 9)
    before = own.read_bytes()
    code, output = invoke("pull")
    assert code == 1 and output.endswith("own.png would be lost: it is recorded nowhere; keep it with `dvc add FOLDER`, or move it away")
    assert own.read_bytes() == before


def test_a_remote_inside_the_repository_is_refused(catalog: Path) -> None:
    dvc("remote", "add", "--default", "example", "data/remote")
    code, output = invoke("push")
    assert code == 1 and "lies inside this repository" in output and "`dvc remote add --default team URL`" in output
    assert not Path("data/remote").exists()
    dvc("remote", "default", "--unset")
    for command in ("push", "pull"):
        code, output = invoke(command)
        assert code == 1 and output.startswith("error: ") and "default remote" in output
