"""A catalog's graph is the one that this wordmint runs, or its owner hears what to do."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.pipeline import graph
from tasks.shipped import shipped
from tests.support.catalogs import run


def test_every_stage_has_an_edition() -> None:
    assert {stage: graph.edition(stage) >= 1 for stage in graph.declared()} == dict.fromkeys([*graph.STAGES, "page", "report"], True)


def test_another_graph_is_refused_and_further_stages_are_not(tmp_path: Path) -> None:
    text = shipped("dvc.yaml").read_text(encoding="utf-8")
    (tmp_path / "dvc.yaml").write_text(text + "  mine:\n    cmd: echo mine\n", encoding="utf-8")
    graph.refuse_another_graph(tmp_path)
    older = re.sub(r"(tasks\.(invert|score) .*--edition )\d+", r"\g<1>1", text)
    (tmp_path / "dvc.yaml").write_text(older, encoding="utf-8")
    with pytest.raises(ValueError, match=r"dvc.yaml declares invert, score differently from this wordmint; `wordmint upgrade`"):
        graph.refuse_another_graph(tmp_path)


@pytest.mark.parametrize("stage", ["invert", "report"])
def test_a_stage_of_another_edition_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forking: dict[str, str], stage: str) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(shipped("params.yaml"), "params.yaml")
    concept = () if stage == "report" else ("--concept", "fox")
    result = run("python", "-m", f"tasks.{stage}", *concept, "--edition", "99", **forking)
    assert result.returncode == 1
    assert f"error: dvc.yaml asks for edition 99 of {stage}, this wordmint computes" in result.stdout


@pytest.mark.parametrize(("git", "files"), [(True, ()), (False, ()), (True, ("params.yaml", "dvc.yaml")), (False, ("params.yaml", "dvc.yaml"))])
def test_a_folder_that_is_no_catalog_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, git: bool, files: tuple[str, ...]) -> None:
    monkeypatch.chdir(tmp_path)
    if git:
        subprocess.run(["git", "init", "-q"], check=True)
    for name in files:
        shutil.copy(shipped(name), name)
    result = run(sys.executable, "-m", "flows.cli.main", "status")
    assert result.returncode == 1
    assert result.stderr.startswith("error: ") and len(result.stderr.splitlines()) == 1
    assert ("wordmint init" if files else "run wordmint in the root of a catalog") in result.stderr
