"""A catalog of an older layout goes on with what it has."""

import re
from pathlib import Path

import pytest
import yaml

from tasks.pipeline import graph, lockfile, repository, upgrade
from tasks.shipped import shipped
from tests.support.catalogs import CONCEPTS, dvc


def older(text: str) -> str:
    """A dvc.yaml or dvc.lock as releases wrote them that kept editions in tasks/versions.yaml."""
    return re.sub(r" --edition \d+", "", text)


def make_older() -> None:
    """Turn a catalog into one of the older layout, as it would be had it been built then."""
    document = yaml.safe_load(Path("dvc.yaml").read_text())
    for name, stage in document["stages"].items():
        stage.get("do", stage)["params"].append({"tasks/versions.yaml": [name]})
    Path("dvc.yaml").write_text(older(yaml.safe_dump(document, sort_keys=False)))
    lock = yaml.safe_load(Path("dvc.lock").read_text())
    for name, entry in lock["stages"].items():
        stage = name.partition("@")[0]
        entry["params"] = entry["params"] | {"tasks/versions.yaml": {stage: graph.edition(stage)}}
    Path("dvc.lock").write_text(older(yaml.safe_dump(lock, sort_keys=False)))
    Path("tasks").mkdir(exist_ok=True)
    Path("tasks/versions.yaml").write_text(yaml.safe_dump({name: graph.edition(name) for name in graph.declared()}))
    Path("prefect.yaml").write_text("deployments:\n  - entrypoint: flows.build_catalog.build_batch\n")


@pytest.mark.slow
def test_nothing_is_built_anew_for_an_upgrade(catalog: Path, forking: dict[str, str]) -> None:
    from flows.build_catalog import build_catalog

    build_catalog()
    make_older()
    with pytest.raises(ValueError, match="wordmint upgrade"):
        repository.open_repo()
    lock = yaml.safe_load(Path("dvc.lock").read_text())
    lock["stages"]["score@ink"]["params"]["tasks/versions.yaml"]["score"] = graph.edition("score") - 1
    Path("dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))
    new = upgrade.upgrades()
    assert {str(path) for path in new} == {"dvc.yaml", "dvc.lock", "prefect.yaml"}
    assert any(line.startswith("+") and "--edition 3" in line for line in upgrade.differences(new))
    upgrade.upgrade(new)
    assert upgrade.upgrades() == {} and not Path("tasks/versions.yaml").exists()
    assert "flows.batches.build_batch" in Path("prefect.yaml").read_text()
    with repository.open_repo() as repo:
        stale = repository.stale(repo, list(CONCEPTS))
    assert list(stale) == ["score@ink"]  # its edition was another one
    outcome = build_catalog()
    assert set(outcome.ran | outcome.restored) == {"ink"}
    dvc("repro", **forking)
    with repository.open_repo() as repo:
        assert repository.stale(repo, list(CONCEPTS)) == {}


def test_a_torn_entry_of_dvc_lock_is_left_out_and_another_damage_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_bytes(shipped("dvc.yaml").read_bytes())
    command = graph.declared()["curate"]["do"]["cmd"].replace("${key}", "fox")
    whole = lockfile.HEADER + lockfile.written("curate@fox", {"cmd": command, "params": {"params.yaml": {"rate": 1e-5}}})
    Path("dvc.lock").write_text(whole + "  invert@fox:\n    cmd: python -m tas\n    deps:\n    - pa")
    assert upgrade.upgrades() == {Path("dvc.lock"): whole.encode()}
    Path("dvc.lock").write_text(whole + "<<<<<<< ours: {\n")
    with pytest.raises(ValueError, match=r"^dvc.lock is not valid YAML \(.*\); run `git restore dvc.lock` or delete it$"):
        upgrade.upgrades()


def test_an_owners_stages_and_comments_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"has no dvc.yaml to upgrade; run wordmint in the root of a catalog"):
        upgrade.upgrades()
    mine = "# ours\nstages:\n  invert:\n    cmd: old\n  mine:  # by hand\n    cmd: echo mine\n"
    Path("dvc.yaml").write_text(mine)
    ((path, content),) = upgrade.upgrades().items()
    text = content.decode()
    assert path == Path("dvc.yaml") and "# ours" in text and "mine:  # by hand" in text
    stages = yaml.safe_load(text)["stages"]
    assert stages["mine"] == {"cmd": "echo mine"}
    assert {name: stages[name] for name in graph.declared()} == graph.declared()


def test_an_older_catalog_gets_the_lines_by_which_git_merges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path, ours = Path(".gitattributes"), shipped(".gitattributes").read_text()
    Path("dvc.yaml").write_bytes(shipped("dvc.yaml").read_bytes())
    path.write_text(f"*.psd binary\n{upgrade.OLD_MERGE}*.ai binary")
    path.write_bytes(upgrade.upgrades()[path])
    assert path.read_text() == f"*.psd binary\n*.ai binary\n{ours}"
    assert upgrade.upgrades() == {}
    path.write_text(upgrade.OLD_MERGE)
    assert upgrade.upgrades() == {path: ours.encode()}
