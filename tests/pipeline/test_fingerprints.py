"""What is remembered of the files: every change that DVC would see is seen, and nothing else is."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tasks import artifacts
from tasks.pipeline import fingerprints
from tasks.pipeline.fingerprints import changed, fingerprints_of, nothing_to_do, recorded, remember, report_fingerprints
from tasks.settings import load_settings

ROOT = Path(__file__).parents[2]
LOCK = """schema: '2.0'
stages:
  curate@fox:
    cmd: python -m tasks.curate --concept fox
  curate@owl:
    cmd: python -m tasks.curate --concept owl
  register@fox:
    cmd: python -m tasks.register --concept fox
  page@fox:
    cmd: python -m tasks.page --concept fox
  report:
    cmd: python -m tasks.report
"""


@pytest.fixture(autouse=True)
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped declarations, a lock, a registry and a few files of every concept, all remembered."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, name)
    Path("dvc.lock").write_text(LOCK, encoding="utf-8")
    artifacts.write_bytes(Path("mlruns/mlflow.db"), b"")
    artifacts.write_bytes(artifacts.REPORT / "index.html", b"page")
    for concept in load_settings().concepts:
        artifacts.write_bytes(artifacts.images(concept) / "1.png", b"picture")
        artifacts.write_bytes(artifacts.samples(concept) / "word/a-photo/0.png", b"sample")
        artifacts.write_json(artifacts.scores(concept), {"concept": concept})
    now = fingerprints_of(list(load_settings().concepts))
    remember(now | report_fingerprints(now))
    return tmp_path


def edit_params(edit: Callable[[dict], object]) -> None:
    document = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    edit(document)
    Path("params.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")


def found() -> list[str]:
    return changed(fingerprints_of(list(load_settings().concepts)))


def test_nothing_changed() -> None:
    assert found() == []
    assert nothing_to_do(load_settings(), None)
    assert nothing_to_do(load_settings(), ["owl"])


@pytest.mark.parametrize(
    "edit",
    [
        lambda: (artifacts.images("fox") / "2.png").write_bytes(b"another"),
        lambda: (artifacts.images("fox") / "1.png").unlink(),
        lambda: os.utime(artifacts.samples("fox") / "word/a-photo/0.png", ns=(0, time.time_ns())),
        lambda: artifacts.write_bytes(artifacts.samples("fox") / "word/a-photo/0.png", b"SAMPLE"),
        lambda: artifacts.scores("fox").unlink(),
        lambda: artifacts.write_bytes(artifacts.rights("fox"), b"licence: MIT"),
        lambda: edit_params(lambda document: document["concepts"]["fox"].update(initializer_token="cat")),
        lambda: Path("dvc.lock").write_text(LOCK.replace("tasks.register --concept fox", "tasks.register  --concept fox"), encoding="utf-8"),
    ],
)
def test_a_change_of_one_concept_is_of_that_one(edit: Callable[[], object]) -> None:
    edit()
    assert found() == ["fox"]
    assert not nothing_to_do(load_settings(), ["owl"])  # the report shows fox too


def test_a_broken_link_is_a_state_like_any_other() -> None:
    (artifacts.images("fox") / "3.png").symlink_to("nowhere.png")
    assert found() == ["fox"]
    remember(fingerprints_of(["fox"]))
    assert found() == []


@pytest.mark.parametrize("section", ["base", "scorer", "curate", "invert", "sample", "score"])
def test_a_setting_is_of_all(section: str) -> None:
    edit_params(lambda document: document[section].update(unheard_of=1))
    assert changed(fingerprints_of(["fox", "owl"])) == ["fox", "owl"]


def test_runtime_is_of_none() -> None:
    edit_params(lambda document: document["runtime"].update(device="cpu", checkpoint_every=7))
    assert found() == []


def test_a_lost_registry_is_something_to_do() -> None:
    Path("mlruns/mlflow.db").unlink()
    assert not nothing_to_do(load_settings(), None)


def test_a_lost_page_is_something_to_do() -> None:
    (artifacts.REPORT / "index.html").unlink()
    assert found() == []
    assert not nothing_to_do(load_settings(), None)


def test_a_changed_page_is_of_its_concept_and_of_the_index() -> None:
    artifacts.write_bytes(artifacts.page("fox") / "index.html", b"another page")
    now = fingerprints_of(list(load_settings().concepts))
    assert changed(now | report_fingerprints(now)) == ["page@fox", "report"]


def test_what_was_never_remembered_is_changed() -> None:
    fingerprints.RECORD.unlink()
    assert found() == list(load_settings().concepts)


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("tasks.register --concept fox", "tasks.register --concept fox --edition 2", {"fox"}),
        ("--concept owl", "--concept owl --edition 2", {"owl"}),
        ("tasks.page", "tasks.other", {"page@fox"}),
        ("tasks.report", "tasks.other", {"report"}),
        ("schema: '2.0'", "schema: '3.0'", {"fox", "owl", "page@fox", "report"}),
    ],
)
def test_the_lock_is_cut_by_concept(old: str, new: str, changed: set[str]) -> None:
    before = recorded()
    assert set(before) == {"fox", "owl", "page@fox", "report"}
    artifacts.write_bytes(Path("dvc.lock"), LOCK.replace(old, new).encode())
    after = recorded()
    assert {name for name in before if before[name] != after[name]} == changed
