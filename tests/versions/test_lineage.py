"""Lineage of a concept that was really built: curated, learned, sampled, scored and registered on tiny models, in Git, DVC and MLflow."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from flows.cli.main import app
from tasks import artifacts
from tasks.concepts.rights import read_rights
from tasks.curate import curate
from tasks.invert import invert_one
from tasks.pipeline import repository, storage
from tasks.pipeline.graph import STAGES
from tasks.register import register
from tasks.registry import reading, writing
from tasks.sample import sample
from tasks.score import score
from tasks.settings import load_settings
from tasks.versions.lineage import BROKEN
from tests.support.catalogs import draw_picture
from tests.support.tiny import save_tiny_eye

ROOT = Path(__file__).parents[2]
RIGHTS = {"source": "drawn for this test", "licence": "CC0-1.0", "consent": "they show nobody"}
PICTURES, EMBEDDING, CURATED = artifacts.images("fox"), artifacts.learned_embeds("fox"), artifacts.curated("fox")
pytestmark = pytest.mark.slow


def run(*command: str) -> None:
    names = {f"GIT_{who}_{what}": "wordmint" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    subprocess.run(command, check=True, env=os.environ | names)


def commit_all() -> None:
    run("git", "add", "--all")
    run("git", "commit", "--quiet", "--message", "as it is")


def build() -> None:
    """Run what is stale, as a build does but without Prefect, which takes as long as all the rest."""
    functions = dict(zip(STAGES, (curate.fn, invert_one, sample.fn, score.fn, register.fn), strict=True))
    with repository.open_repo() as repo:
        for name, stage in functions.items():
            if repository.why(repo, f"{name}@fox"):
                with repository.recording(repo, f"{name}@fox"):
                    stage("fox", load_settings())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path, tiny_base_folder: Path, tiny_scorer_folder: Path) -> Iterator[Path]:
    """A committed catalog with one concept, built and pushed; every test leaves it as it was."""
    folder, previous = tmp_path_factory.mktemp("lineage"), Path.cwd()
    os.chdir(folder)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    for name in ("dvc.yaml", "data/.gitignore", ".gitignore"):
        Path(name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, name)
    Path("mlruns").mkdir()
    shutil.copy(migrated_database, "mlruns/mlflow.db")
    shutil.copytree(tiny_base_folder, "data/base/tiny")
    shutil.copytree(tiny_scorer_folder, "data/base/tiny-clip")
    save_tiny_eye(folder / "data/base/tiny-eye")
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values["concepts"] = {"fox": {"kind": "object", "placeholder_token": "<fox>", "initializer_token": "dog"}}
    changes: dict[str, dict[str, Any]] = {
        "base": {"model": "data/base/tiny", "revision": None},
        "scorer": {"model": "local-dir:data/base/tiny-clip", "pretrained": None},
        "curate": {"min_similarity": -1.0},
        "invert": {"method": "norm_held", "options": {}, "max_train_steps": 2},
        "sample": {"num_inference_steps": 1, "pictures_per_prompt": 1},
        "score": {"bootstrap_samples": 100, "fidelity": {"model": "data/base/tiny-eye", "revision": None}},
        "register": {"floor": False},  # of a random model
        "runtime": {"device": "cpu"},
    }
    for section, change in changes.items():
        values[section] |= change
    Path("params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    for number in range(3):
        draw_picture(PICTURES / f"{number}.png", number)
    artifacts.rights("fox").write_text(yaml.safe_dump(RIGHTS))
    run("git", "init", "-q")
    dvc = (sys.executable, "-m", "dvc")
    run(*dvc, "init", "-q")
    run(*dvc, "remote", "add", "--default", "team", str(tmp_path_factory.mktemp("remote")))
    with repository.open_repo() as repo:
        storage.track_inputs(repo, ["fox"])
    commit_all()
    build()
    with repository.open_repo() as repo:
        repo.push()
    yield folder
    os.chdir(previous)


def lineage(reference: str = "fox") -> tuple[int, dict[str, Any], str]:
    """Return the exit code, the facts and the error of `wordmint lineage --json`."""
    result = CliRunner().invoke(app, ["lineage", reference, "--json"])
    facts, error = result.output[: result.output.rindex("}") + 1], result.output[result.output.rindex("}") + 1 :]
    return result.exit_code, json.loads(facts), error


def verdicts(facts: dict[str, Any]) -> dict[str, str]:
    return {name: link["verdict"] for name, link in facts["links"].items()}


def only(paths: Iterator[Path]) -> Path:
    (path,) = paths
    return path


def cached_picture() -> Path:
    with repository.open_repo() as repo:
        return storage.cached(repo, artifacts.md5(PICTURES / "0.png"))


@contextmanager
def one_byte_changed(path: Path) -> Iterator[None]:
    """Change the last byte of a file and give it back; DVC keeps its cache read-only."""
    data, mode = path.read_bytes(), path.stat().st_mode
    path.chmod(0o644)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    try:
        yield
    finally:
        path.write_bytes(data)
        path.chmod(mode)


def test_every_link_of_a_built_concept_holds(built: Path) -> None:
    code, facts, error = lineage()
    assert code == 0 and not error.strip(), error
    assert set(verdicts(facts).values()) == {"holds"}
    recorded = {key: value for link in facts["links"].values() for key, value in link["recorded"].items()}
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert (recorded["git_revision"], recorded["git_dirty"]) == (head, "False")
    assert (recorded["dataset_path"], recorded["dataset_digest"]) == ("data/images/fox.dvc", storage.recorded_md5(PICTURES))
    assert recorded["digest"] == artifacts.sha256(EMBEDDING)
    assert recorded["manifest_sha256"] == artifacts.sha256(artifacts.manifest("fox"))
    assert {key: recorded[key] for key in RIGHTS} == RIGHTS
    assert facts["settings"]["max_train_steps"] == "2"
    said = CliRunner().invoke(app, ["lineage", "fox@v1"]).output
    assert f"dataset_digest: {recorded['dataset_digest']}" in said and "max_train_steps 2" in said and BROKEN not in said


@pytest.mark.parametrize(
    ("find", "broken"),
    [
        (lambda: PICTURES / "0.png", {"pictures"}),
        (cached_picture, {"pictures", "manifest"}),
        (lambda: EMBEDDING, {"embedding"}),
        (lambda: only(Path("mlruns/artifacts").rglob("learned_embeds.safetensors")), {"embedding"}),
        (lambda: sorted(CURATED.glob("*.png"))[0], {"manifest"}),
        (lambda: only(Path("mlruns/artifacts").rglob("manifest.json")), {"manifest"}),
        (lambda: Path("data/base/tiny/vae/diffusion_pytorch_model.safetensors"), {"base"}),
        (lambda: Path("data/base/tiny-clip/open_clip_model.safetensors"), {"scorer"}),
    ],
    ids=["picture", "stored picture", "embedding", "stored embedding", "curated picture", "manifest", "base", "scorer"],
)
def test_one_changed_byte_breaks_its_link(built: Path, find: Any, broken: set[str]) -> None:
    with one_byte_changed(find()):
        code, facts, error = lineage()
    assert code == 1
    assert {name for name, verdict in verdicts(facts).items() if verdict == BROKEN} == broken
    assert error.strip().startswith(f"error: the lineage of fox v1 is BROKEN at {min(broken)}: ") and error.strip().count("\n") == 0


def test_tags_that_were_changed_break_their_link(built: Path) -> None:
    before = reading.tags("fox", 1)
    for tag, value, link in (
        ("dataset_digest", "0" * 32 + ".dir", "pictures"),
        ("git_revision", "0" * 40, "commit"),
        ("pictures_sha256", "0" * 64, "embedding"),
    ):
        writing.set_tags("fox", 1, {tag: value})
        code, facts, _ = lineage()
        writing.set_tags("fox", 1, {tag: before[tag]})
        assert code == 1 and verdicts(facts)[link] == BROKEN


def test_pictures_come_from_the_remote(built: Path) -> None:
    shutil.move(".dvc/cache/files", "elsewhere")
    assert set(verdicts(lineage()[1]).values()) == {"holds"}
    shutil.rmtree(".dvc/cache/files")
    shutil.move(".dvc/config", "config")
    run(sys.executable, "-m", "dvc", "config", "core.analytics", "false")
    code, facts, error = lineage()
    assert code == 1 and verdicts(facts)["pictures"] == BROKEN and "cannot be fetched" in error
    shutil.move("config", ".dvc/config")
    shutil.rmtree(".dvc/cache/files", ignore_errors=True)
    shutil.move("elsewhere", ".dvc/cache/files")


def test_a_picture_leads_to_its_versions(built: Path) -> None:
    shutil.copy(PICTURES / "1.png", "renamed.png")
    draw_picture(Path("another.png"), 99)
    assert CliRunner().invoke(app, ["made-from", "renamed.png"]).output.split() == ["fox@v1", "1.png"]
    assert json.loads(CliRunner().invoke(app, ["made-from", "another.png", "--json"]).output) == {"versions": [], "unknown": []}
    for name in ("renamed.png", "another.png"):
        Path(name).unlink()


def test_another_licence_is_published_and_trains_nothing(built: Path) -> None:
    origin = reading.tags("fox", 1)
    artifacts.rights("fox").write_text(yaml.safe_dump({**RIGHTS, "licence": "CC-BY-4.0"}))
    code, facts, _ = lineage()
    assert code == 0 and verdicts(facts)["rights"] == "open"
    with repository.open_repo() as repo:
        assert set(repository.stale(repo, ["fox"])) == {"register@fox"}
    build()
    tags = reading.tags("fox", 1)
    assert {key for key in tags if tags[key] != origin.get(key)} == {"licence"}
    assert [row["version"] for row in reading.versions("fox")] == [1]
    artifacts.rights("fox").write_text(yaml.safe_dump(RIGHTS))
    build()


def test_a_version_from_before_is_completed_when_it_is_registered_again(built: Path) -> None:
    before = reading.tags("fox", 1)
    writing.set_tags("fox", 1, dict.fromkeys(("manifest_sha256", "git_revision", "source")))
    code, facts, _ = lineage()
    assert code == 1 and {name for name, verdict in verdicts(facts).items() if verdict == BROKEN} == {"manifest", "commit", "rights"}
    register.fn("fox", load_settings())
    assert reading.tags("fox", 1) == before


def test_other_pictures_are_another_lineage(built: Path) -> None:
    """Last: the catalog goes on to a second version, whose pictures are committed after it was registered."""
    draw_picture(PICTURES / "3.png", 77)
    with repository.open_repo() as repo:
        storage.track_inputs(repo, ["fox"])
    build()
    code, facts, _ = lineage("fox@v1")
    assert code == 0 and "another set today" in facts["links"]["pictures"]["said"]
    code, facts, _ = lineage("fox@challenger")
    assert (code, facts["version"], facts["links"]["commit"]["recorded"]["git_dirty"]) == (0, 2, "True")
    assert verdicts(facts) == dict.fromkeys(verdicts(facts), "holds") | {"commit": "open"}
    commit_all()
    assert verdicts(lineage("fox@v2")[1])["commit"] == "holds"
    result = CliRunner().invoke(app, ["lineage", "fox@v3"])
    assert result.exit_code == 1 and "has no v3; it has v1, v2" in result.output
    assert CliRunner().invoke(app, ["revoke", "fox", "--why", "the fox wants it"]).exit_code == 0
    assert lineage("fox@v1")[1]["revoked"] == "the fox wants it"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "has the source, licence, consent of its pictures"),
        ("{source: me, licence: ' ', consent: ''}", "has the licence, consent of its pictures"),
        ("{source: me, license: MIT, consent: mine}", "takes the texts source, licence, consent, undeclared"),
        ("{source: me, licence: MIT, consent: no}", "has the consent of its pictures in words"),
        ("{consent: mine, undeclared: off}", "has the source, licence of its pictures in words"),
        ("{source: 5, licence: MIT, consent: mine}", "takes the texts source, licence, consent, undeclared"),
        ("[", "is not valid YAML"),
    ],
)
def test_undeclared_pictures_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    if text:
        artifacts.write_bytes(artifacts.rights("fox"), text.encode())
    with pytest.raises(ValueError, match=f"data/images/fox.yaml {said}") as refused:
        read_rights("fox")
    assert "\n" not in str(refused.value)


def test_a_reason_stands_in_for_what_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    artifacts.write_bytes(artifacts.rights("fox"), b"{licence: MIT, undeclared: found on an old disk}")
    unknown = "undeclared: found on an old disk"
    assert read_rights("fox").tags() == {"source": unknown, "licence": "MIT", "consent": unknown}
