"""Real merges, rebases and cherry-picks of catalogs: real Git and DVC, with stand-ins for what the stages write."""

import contextlib
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from tasks import artifacts
from tasks.concepts.rights import Rights
from tasks.pipeline import merge_driver, receiving, repository, sending, storage
from tasks.pipeline.graph import STAGES
from tasks.settings import load_settings
from tasks.using.add import add_concept
from tasks.using.new_catalog import new_catalog
from tests.support.catalogs import draw_picture

pytestmark = pytest.mark.slow
PARAMS, LOCK = Path("params.yaml"), Path("dvc.lock")
RIGHTS = Rights(undeclared="drawn for this test")
OUTPUT = {
    "curate": artifacts.manifest,
    "invert": artifacts.learned_embeds,
    "sample": artifacts.samples_record,
    "score": artifacts.scores,
    "register": artifacts.registered,
}
JOINS = {"merge": ("merge", "--no-edit", "theirs"), "rebase": ("rebase", "theirs"), "cherry-pick": ("cherry-pick", "main..theirs")}
"""How a test brings the branch `theirs` and the present one, `ours`, together."""


def git(*arguments: str, code: int = 0) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def commit(message: str = "a change") -> None:
    git("add", "--all")
    git("commit", "--quiet", "--message", message)


def add(name: str, seed: int = 0) -> None:
    picture = Path(f"../{name}.png")
    draw_picture(picture, seed)
    add_concept(name, [picture], "cup", "object", load_settings(), RIGHTS)


def build(machine: str = "") -> list[str]:
    """Build as the flow does, and return what was not restored; a result says what it was made from, and on another machine it is another one."""
    ran = []
    with repository.open_repo() as repo:
        concepts = list(load_settings().concepts)
        storage.track_inputs(repo, concepts)
        for concept, stage in ((concept, stage) for concept in concepts for stage in STAGES):
            if repository.why(repo, name := f"{stage}@{concept}") and (machine or stage == "register" or not repository.restore(repo, name)):
                make(repo, name, OUTPUT[stage](concept), machine)
                ran.append(name)
        for concept in concepts:
            if repository.why(repo, f"page@{concept}"):
                further = artifacts.page(concept) / "index.html", artifacts.CURVES / concept / "loss.csv"
                make(repo, f"page@{concept}", artifacts.card(concept), machine, *further)
        if repository.why(repo, "report"):
            make(repo, "report", artifacts.REPORT / "index.html", machine, artifacts.REPORT / "pictures/0.webp")
    return ran


def make(repo: repository.CatalogRepo, name: str, path: Path, machine: str = "", *more: Path) -> None:
    with repository.recording(repo, name):
        made_from = repr((name, machine, sorted(repository.snapshot(repo, name).items())))
        for out in (path, *more):
            artifacts.write_bytes(out, hashlib.sha256(made_from.encode()).hexdigest().encode())


def stale() -> dict[str, list[str]]:
    with repository.open_repo() as repo:
        return repository.stale(repo, list(load_settings().concepts), STAGES)


def edit(old: str, new: str) -> None:
    text = PARAMS.read_text(encoding="utf-8")
    assert text.count(old) == 1
    PARAMS.write_text(text.replace(old, new), encoding="utf-8")


@contextlib.contextmanager
def branch(name: str) -> Iterator[None]:
    """Work on a branch that starts from main, as in a clone of its own, and commit."""
    git("checkout", "--quiet", "-B", name, "main")
    follow()
    yield
    commit(name)


def follow() -> None:
    """Bring pictures and results to where Git is, from DVC's cache, as `wordmint pull` does from the remote."""
    git("clean", "--quiet", "--force", "-d", "data")
    with repository.open_repo() as repo:
        repo.checkout(force=True, allow_missing=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A catalog with a built concept; theirs and ours have another each."""
    folder = tmp_path_factory.mktemp("team") / "catalog"
    with pytest.MonkeyPatch.context() as patched:
        for role in ("AUTHOR", "COMMITTER"):
            patched.setenv(f"GIT_{role}_NAME", "tester")
            patched.setenv(f"GIT_{role}_EMAIL", "tester@example.org")
        patched.setenv("GIT_EDITOR", "true")
        new_catalog(folder)
        patched.chdir(folder)
        git("checkout", "--quiet", "-b", "main")
        add("fox", 1)
        build()
        commit("fox")
        for side, name, seed in (("theirs", "pan", 2), ("ours", "mug", 3)):
            with branch(side):
                add(name, seed)
                build()
        yield folder


@pytest.fixture
def catalog(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that catalog, which is the working directory, below a folder with a space and a quote in its name."""
    return enter(built, tmp_path, monkeypatch)


def enter(original: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = folder / "a team's" / "catalog"
    shutil.copytree(original, copy, symlinks=True)
    monkeypatch.chdir(copy)
    return copy


@pytest.fixture(scope="module")
def differing(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of that catalog in which both sides have also changed and built the first concept."""
    with pytest.MonkeyPatch.context() as patched:
        folder = enter(built, tmp_path_factory.mktemp("differing"), patched)
        for side, word in (("theirs", "dog"), ("ours", "wolf")):
            git("checkout", "--quiet", side)
            follow()
            edit("<fox>\n    initializer_token: cup", f"<fox>\n    initializer_token: {word}")
            build()
            commit()
        yield folder


@pytest.mark.parametrize("join", JOINS)
def test_people_who_add_different_concepts_do_not_meet(catalog: Path, join: str) -> None:
    comments = PARAMS.read_text(encoding="utf-8").count("#")
    git(*JOINS[join])
    follow()
    added = ["pan", "mug"] if join == "rebase" else ["mug", "pan"]
    assert list(load_settings().concepts) == ["fox", *added]
    assert PARAMS.read_text(encoding="utf-8").count("#") == comments
    assert stale() == {}
    assert sorted(Path("data/images/.gitignore").read_text().split()) == ["/fox", "/mug", "/pan"]
    assert git("status", "--short") == ""
    with repository.open_repo() as repo:
        assert repository.why(repo, "report")  # nobody has made the one of all three


def test_a_second_clone_has_nothing_to_build(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = f"[core]\n    remote = team\n['remote \"team\"']\n    url = {catalog.parent / 'remote'}\n"
    Path(".dvc/config.local").write_text(remote)
    for side in ("theirs", "ours"):
        git("checkout", "--quiet", side)
        follow()
        with repository.open_repo() as repo:
            sending.send(repo)
    git("clone", "--quiet", ".", "../clone")
    monkeypatch.chdir(catalog.parent / "clone")
    Path(".dvc/config.local").write_text(remote)
    repository.open_repo().close()
    git("pull", "--quiet", "--no-rebase", "--no-edit", "origin", "theirs")
    with repository.open_repo() as repo:
        receiving.receive(repo, list(load_settings().concepts))
    assert stale() == {}


def test_a_fresh_clone_gets_its_driver_from_the_first_command(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git("clone", "--quiet", ".", "../clone")
    monkeypatch.chdir(catalog.parent / "clone")
    git("config", merge_driver.NAME, code=1)
    repository.open_repo().close()
    assert git("config", "--local", merge_driver.NAME) == f"{merge_driver.command()}\n"
    Path(".gitattributes").unlink()
    git("config", "--unset", merge_driver.NAME)
    repository.open_repo().close()
    git("config", merge_driver.NAME, code=1)  # a catalog that does not ask for it


def test_what_each_changed_of_one_concept_is_built_together(catalog: Path) -> None:
    with branch("theirs"):
        draw_picture(artifacts.images("fox") / "second.png", 3)
        assert "invert@fox" in build()
    with branch("ours"):
        edit("\n  num_inference_steps: 25", "\n  num_inference_steps: 40")
        assert build() == ["sample@fox", "score@fox", "register@fox"]
    git("merge", "--no-edit", "theirs")
    follow()
    assert build() == ["sample@fox", "score@fox", "register@fox"]  # nobody has drawn theirs with our steps
    assert stale() == {}


def test_two_machines_that_built_the_same_agree_on_one_result(catalog: Path) -> None:
    for side in ("theirs", "ours"):
        with branch(side):
            edit("\n  num_inference_steps: 25", "\n  num_inference_steps: 40")
            assert build(side) == ["sample@fox", "score@fox", "register@fox"]
    git("merge", "--no-edit", "theirs")
    follow()
    assert stale() == {}


@pytest.mark.parametrize(("join", "side"), [("merge", "ours"), ("rebase", "theirs")])
def test_a_concept_that_both_changed_is_a_conflict_and_one_side_can_be_taken(
    differing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, join: str, side: str
) -> None:
    enter(differing, tmp_path, monkeypatch)
    said = git(*JOINS[join], code=1)
    setting = "concepts.fox.initializer_token"
    assert f"params.yaml: both sides changed {setting}; `wordmint take ours {setting}` or `wordmint take theirs {setting}`" in said
    assert PARAMS.read_text(encoding="utf-8").count("\n<<<<<<< ours: ") == 1
    assert invoke("take", side, "concepts.fox").startswith(f"took {side} of {setting}")
    git("commit", "--quiet", "--no-edit") if join == "merge" else git("rebase", "--continue")
    follow()
    settings = load_settings()
    mine = (side == "ours") == (join == "merge")  # a rebase calls `ours` what the commits are moved onto
    assert settings.concept("fox").initializer_token == ("wolf" if mine else "dog")
    assert set(settings.concepts) == {"fox", "mug", "pan"}
    assert {name for name in stale() if not name.endswith("@fox")} == set()
    assert build() == ([] if side == "ours" else ["register@fox"])  # what was theirs is in the run-cache, and is registered again


def invoke(*command: str) -> str:
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    return result.output


def test_pictures_that_both_changed(catalog: Path) -> None:
    md5 = {}
    for number, name in enumerate(("theirs", "ours")):
        with branch(name):
            draw_picture(artifacts.images("fox") / "second.png", number + 5)
            track("fox")
        md5[name] = storage.recorded_md5(artifacts.images("fox"))
    said = git("merge", "theirs", code=1)
    assert "data/images/fox.dvc: both sides changed concepts.fox; `wordmint take ours concepts.fox`" in said
    assert all(text in Path("data/images/fox.dvc").read_text() for text in md5.values() if text)
    assert "took theirs of data/images/fox.dvc" in invoke("take", "theirs", "concepts.fox")
    assert storage.recorded_md5(artifacts.images("fox")) == md5["theirs"] != md5["ours"]
    git("commit", "--quiet", "--no-edit")


def track(concept: str) -> None:
    with repository.open_repo() as repo:
        storage.track_inputs(repo, [concept])


@pytest.mark.parametrize("new_pictures", [True, False])
@pytest.mark.parametrize("side", ["ours", "theirs"])
def test_a_concept_that_they_removed_and_we_changed(catalog: Path, side: str, new_pictures: bool) -> None:
    files = [artifacts.pointer(artifacts.images("fox")), artifacts.rights("fox")]
    with branch("theirs"):
        text = PARAMS.read_text(encoding="utf-8")
        start = text.index("concepts:\n")
        PARAMS.write_text(text[:start] + "concepts: {}\n" + text[text.index("runtime:", start) :], encoding="utf-8")
        for path in files:
            path.unlink()
    with branch("ours"):
        edit("initializer_token: cup", "initializer_token: wolf")
        if new_pictures:
            draw_picture(artifacts.images("fox") / "second.png", 3)
            track("fox")
    assert "both sides changed concepts;" in git("merge", "theirs", code=1)
    invoke("take", side)
    git("commit", "--quiet", "--no-edit")
    assert list(load_settings().concepts) == (["fox"] if side == "ours" else [])
    assert [path.exists() for path in files] == [side == "ours"] * 2
    assert git("status", "--short") == ""


def test_take_names_what_is_in_conflict(catalog: Path) -> None:
    for name, seed in (("theirs", 1), ("ours", 2)):
        with branch(name):
            edit("\n  num_inference_steps: 25", f"\n  num_inference_steps: {seed}")
            edit("initializer_token: cup", f"initializer_token: word{seed}")
    git("merge", "theirs", code=1)
    result = CliRunner().invoke(app, ["take", "ours", "sample.seed"])
    expected = "error: sample.seed is not in conflict; these are: sample.num_inference_steps, concepts.fox.initializer_token, params.yaml"
    assert (result.exit_code, result.output.strip()) == (1, expected)
    assert "still in conflict: concepts.fox.initializer_token" in invoke("take", "ours", "sample")
    assert "UU params.yaml" in git("status", "--short")
    invoke("take", "theirs", "concepts.fox")
    assert "M  params.yaml" in git("status", "--short")
    settings = load_settings()
    assert (settings.sample.num_inference_steps, settings.concept("fox").initializer_token) == (2, "word1")


def test_without_a_driver_git_merges_lines_and_the_driver_can_do_it_again(catalog: Path) -> None:
    git("config", "--unset", merge_driver.NAME)
    git("merge", "theirs", code=1)
    assert "<<<<<<< HEAD" in PARAMS.read_text(encoding="utf-8")
    git("merge", "--abort")
    repository.open_repo().close()
    git("merge", "--no-edit", "theirs")
    assert list(load_settings().concepts) == ["fox", "mug", "pan"]


def test_a_python_that_is_gone_leaves_both_sides(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/gone/python")
    git("config", merge_driver.NAME, merge_driver.command())
    git("merge", "theirs", code=1)
    text = PARAMS.read_text(encoding="utf-8")
    assert "<<<<<<< ours\n" in text and "  mug:\n" in text and "  pan:\n" in text


def test_a_python_in_a_folder_with_a_space(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = catalog.parent / "it's 100% mine" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    git("config", merge_driver.NAME, merge_driver.command())
    git("merge", "--no-edit", "theirs")
    assert list(load_settings().concepts) == ["fox", "mug", "pan"]


def test_branches_that_were_merged_both_ways_have_a_common_version_with_marks(catalog: Path) -> None:
    """Git merges the two last common commits first, whose conflict was settled long ago."""
    for name, word in (("theirs", "dog"), ("ours", "wolf")):
        git("checkout", "--quiet", name)
        edit("<fox>\n    initializer_token: cup", f"<fox>\n    initializer_token: {word}")
        commit()
        git("branch", f"{name}-first")
    changes = (("ours", "theirs-first", "ours", "max_train_steps: 300"), ("theirs", "ours-first", "theirs", "\n  num_inference_steps: 25"))
    for name, other, side, setting in changes:
        git("checkout", "--quiet", name)
        git("merge", other, code=1)
        invoke("take", side)
        edit(setting, f"{setting}0")
        commit("merged and changed")
    assert "both sides changed" not in git("merge", "--no-edit", "ours")
    settings = load_settings()
    assert (settings.invert.max_train_steps, settings.sample.num_inference_steps) == (3000, 250)
    assert settings.concept("fox").initializer_token == "wolf" and set(settings.concepts) == {"fox", "mug", "pan"}


def test_a_version_that_is_no_yaml_leaves_both_sides(catalog: Path) -> None:
    with branch("theirs"):
        edit("initializer_token: cup", "initializer_token: cup: jug")
    with branch("ours"):
        edit("initializer_token: cup", "initializer_token: dog")
    assert "params.yaml is merged line by line: their version is not valid YAML" in git("merge", "theirs", code=1)
    text = PARAMS.read_text(encoding="utf-8")
    assert "<<<<<<< ours\n" in text and "initializer_token: dog\n" in text and "initializer_token: cup: jug\n" in text


def test_a_lock_file_that_one_side_lacks(catalog: Path) -> None:
    git("checkout", "--quiet", "main")
    git("rm", "--quiet", "dvc.lock")
    commit("nobody has built yet")
    with branch("theirs"):
        add("pan", 2)
    with branch("ours"):
        assert build() == ["register@fox"]
    git("merge", "--no-edit", "theirs")
    follow()
    assert stale() == {f"{stage}@pan": ["never built"] for stage in STAGES}


def test_the_journal_of_a_killed_build_outlives_a_merge(catalog: Path) -> None:
    with branch("theirs"):
        add("pan", 2)
        edit("max_train_steps: 300", "max_train_steps: 200")
        with repository.open_repo() as repo:
            make(repo, "invert@fox", OUTPUT["invert"]("fox"))
    with branch("ours"):
        add("mug", 3)
    before = LOCK.read_bytes()
    edit("max_train_steps: 300", "max_train_steps: 100")
    killed = repository.open_repo()  # and never closed
    for name in ("curate@mug", "invert@mug", "invert@fox"):
        stage, concept = name.split("@")
        make(killed, name, OUTPUT[stage](concept))
    assert killed.journal.exists() and LOCK.read_bytes() == before
    git("checkout", "--quiet", "params.yaml")
    git("merge", "--no-edit", "theirs")
    assert list(load_settings().concepts) == ["fox", "mug", "pan"]
    follow()
    found = stale()
    assert not killed.journal.exists()
    assert "curate@mug" not in found and found["invert@mug"] == ["params.yaml invert modified"]  # both from the journal
    assert "invert@fox" not in found  # theirs, which the journal does not replace
