"""A two-concept catalog on tiny random models, built for real through Prefect, DVC and MLflow."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import yaml
from diffusers import StableDiffusionPipeline
from PIL import Image
from prefect.client.orchestration import get_client
from typer.testing import CliRunner

from flows.batches import build_concepts
from flows.build_catalog import build_catalog
from flows.cli.main import app
from tasks import artifacts
from tasks.drawing.samples import draw
from tasks.faults import VARIABLE
from tasks.pipeline import fingerprints, repository
from tasks.pipeline.progress import heard_by
from tasks.settings import load_settings
from tasks.using.imagine import imagine_pictures
from tests.support.catalogs import CONCEPTS, ROOT, draw_picture, dvc, edit_params, run
from tests.support.tiny import save_tiny_pipeline

pytestmark = pytest.mark.slow


def build() -> tuple[int, str]:
    result = CliRunner().invoke(app, ["build"])
    return result.exit_code, result.output


def stale_stages() -> set[str]:
    with repository.open_repo() as repo:
        return set(repository.stale(repo, list(CONCEPTS)))


@pytest.fixture(scope="module")
def built(catalog: Path) -> Path:
    code, output = build()
    assert code == 0, output
    return catalog


def test_a_build_leaves_every_artifact(built: Path) -> None:
    for concept in CONCEPTS:
        scores = artifacts.read_json(artifacts.scores(concept))
        assert scores["embedding_digest"] == artifacts.sha256(artifacts.learned_embeds(concept))
        assert scores["reconstruction"]["low"] <= scores["reconstruction"]["value"] <= scores["reconstruction"]["high"]
        assert artifacts.read_json(artifacts.registered(concept))["aliases"] == ["champion"]
        assert artifacts.read_json(artifacts.train_record(concept))["optimizer_steps"] == 40
    assert (artifacts.REPORT / "index.html").exists()


def test_a_build_remembers_what_it_built(built: Path) -> None:
    assert fingerprints.nothing_to_do(load_settings(), None)
    shutil.rmtree(artifacts.page("fox"))  # its page is restored, and the index stays as it is
    assert build()[0] == 0 and fingerprints.nothing_to_do(load_settings(), None)


def test_dvc_and_the_flow_agree_that_nothing_is_left(built: Path) -> None:
    assert json.loads(dvc("status", "--json")) == {}
    assert "Running stage" not in dvc("repro")
    code, output = build()
    assert code == 0 and "nothing to do" in output


def test_dvc_draws_the_curves_of_every_training(built: Path) -> None:
    plots = json.loads(dvc("plots", "show", "--json"))
    assert "errors" not in plots
    names = {f"data/report/curves/{concept}/{name}.csv" for concept in CONCEPTS for name in ("loss", "norm")}
    assert set(plots["data"]) == names
    for path, ((drawn,)) in plots["data"].items():
        values, name = drawn["content"]["data"]["values"], Path(path).stem
        assert [(int(value["step"]), float(value[name]) > 0) for value in values] == [(step, True) for step in range(1, 41)]
    dvc("plots", "show", "--out", "plots")
    assert "data/report/curves/fox/loss.csv" in Path("plots/index.html").read_text()


def test_the_embedding_loads_in_plain_diffusers(built: Path) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained("data/base/tiny", safety_checker=None)
    pipeline.load_textual_inversion(str(artifacts.learned_embeds("fox")))
    assert pipeline.tokenizer.tokenize("a photo of a <fox>")[-1] == "<fox>"


def test_pictures_say_what_made_them(built: Path) -> None:
    folder = artifacts.samples("fox") / "word" / artifacts.prompt_slug("a photo of a {}")
    pictures = sorted(folder.glob("*.png"))
    assert [path.name for path in pictures] == ["000000.png", "000001.png"]
    text = Image.open(pictures[1]).text  # type: ignore[attr-defined]
    assert (text["prompt"], text["seed"], text["concept"]) == ("a photo of a <fox>", "1", "fox")


def test_list_show_and_imagine_speak_of_the_champion(built: Path) -> None:
    rows = json.loads(CliRunner().invoke(app, ["list", "--json"]).output)
    assert [(row["concept"], row["alias"], row["version"]) for row in rows] == [("fox", "champion", 1), ("ink", "champion", 1)]
    assert json.loads(CliRunner().invoke(app, ["show", "fox", "--json"]).output)["training"]["stopped"] == "cap"
    result = CliRunner().invoke(app, ["imagine", "a <fox> in the style of <ink>", "-n", "2", "--out", "out"])
    assert result.exit_code == 0, result.output
    assert len(list(Path("out").rglob("*.png"))) == 2


def wordmint(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_best_of_several_candidates_are_kept(built: Path) -> None:
    lines = wordmint("imagine", "a <fox> in the style of <ink>", "--candidates", "3", "--keep", "2", "--seed", "7", "--out", "best").splitlines()
    assert len(lines) == 2 and all("  text " in line and "  <fox> " in line and "  <ink> " in line for line in lines)
    assert {line.split("  ")[0] for line in lines} == {str(path) for path in Path("best").rglob("*.png")}
    refused = CliRunner().invoke(app, ["imagine", "a <fox>", "--candidates", "3"])
    assert refused.exit_code == 1 and "raise --candidates or lower --keep" in str(refused.exception)


def test_a_picture_is_edited_and_drawn_anew(built: Path) -> None:
    picture, mask = "data/images/fox/0.png", Image.new("L", (96, 96))
    mask.paste(255, (24, 24, 72, 72))
    mask.save("mask.png")
    outside = np.asarray(mask)[::6, ::6] == 0  # at the tiny model's resolution
    paths = wordmint("edit", picture, "a photo of a <fox>", "--mask", "mask.png", "-n", "2").split()
    for path in paths:
        changed = np.asarray(Image.open(path)) != np.asarray(Image.open("data/curated/fox/0.png"))
        assert changed.any() and not changed[outside].any()
    said, *paths = wordmint("reimagine", picture, "an oil painting of <fox>", "--concept", "fox", "--guidance", "1", "--guidance", "3").splitlines()
    assert [Path(path).name for path in paths] == ["guidance-1.png", "guidance-3.png"] and all(Path(path).exists() for path in paths)
    assert said.split()[0].endswith("reconstruction.png") and "psnr" in said


@pytest.mark.parametrize(
    ("size", "painted", "complaint"),
    [((96, 64), 255, "draw the mask over the picture"), ((96, 96), 0, "nothing white"), (None, 0, "no.png is not a file")],
)
def test_an_unusable_mask_is_refused(built: Path, size: tuple[int, int] | None, painted: int, complaint: str) -> None:
    if size:
        Image.new("L", size, painted).save("bad.png")
    mask = "bad.png" if size else "no.png"
    result = CliRunner().invoke(app, ["edit", "data/images/fox/0.png", "a <fox>", "--mask", mask, "--out", "refused"])
    assert result.exit_code == 1 and complaint in str(result.exception)
    assert not Path("refused").exists()


def test_pairs_are_scored_once_and_shown_without_anything_stale(built: Path) -> None:
    (said,) = wordmint("compose").splitlines()
    assert said.startswith("a picture of a <fox> in the style of <ink>  both in ")
    path = artifacts.composition_record("fox", "ink")
    shares = artifacts.read_json(path)["shares"]
    assert 0 <= shares["both"] <= min(shares["one"], shares["other"]) <= 1
    assert 'id="pair-fox-ink"' in (artifacts.REPORT / "index.html").read_text(encoding="utf-8")
    assert json.loads(dvc("status", "--json")) == {}
    before = path.stat().st_ino
    wordmint("compose", "ink", "fox")
    assert path.stat().st_ino == before
    refused = CliRunner().invoke(app, ["compose", "ink"])
    assert refused.exit_code == 1 and "two built concepts" in str(refused.exception)


def test_the_spread_of_an_ordinary_word_beside_a_new_one(built: Path) -> None:
    rows = json.loads(wordmint("spread", "a photo of a {}", "dog", "<fox>", "--over", "oil,pencil", "-n", "3", "--json"))
    assert [row["word"] for row in rows] == ["dog", "<fox>"]
    assert all(list(row["counts"]) == ["oil", "pencil"] and sum(row["counts"].values()) == 3 for row in rows)
    assert all(0 <= row["evenness"]["low"] <= row["evenness"]["high"] <= 1 for row in rows)
    refused = CliRunner().invoke(app, ["spread", "a photo of a {}", "dog", "--over", "oil"])
    assert refused.exit_code == 1 and "two or more" in str(refused.exception)


def test_a_word_of_another_base_needs_a_flag(built: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = load_settings()
    other = settings.base.model_copy(update={"model": str(save_tiny_pipeline(built.parent / "other", seed=1))})
    moved = settings.model_copy(update={"base": other})
    prompt = "a photo of a <fox>"
    remedies = r'build it, then `wordmint promote fox --accept "REASON"`, or try it with --any-base'
    with pytest.raises(ValueError, match=rf"<fox> was learned on base \w{{12}}, this one is \w{{12}}; {remedies}"):
        list(imagine_pictures(prompt, [0], moved))
    assert len(list(imagine_pictures(prompt, [0], moved, any_base=True))) == 1
    assert "<fox> was learned on base" in caplog.text


def test_a_word_that_nobody_has_is_one_line(built: Path, forking: dict[str, str]) -> None:
    result = run("wordmint", "imagine", "a <unicorn>", **forking)
    assert result.returncode == 1
    assert result.stdout.count("\n") == 1 and "<unicorn>" in result.stdout


def test_sampling_can_be_given_up_after_any_prompt(built: Path, tmp_path: Path) -> None:
    settings, told = load_settings(), list[tuple[str, int, int]]()
    prompts = len(settings.prompts("fox"))

    def listener(*progress: Any) -> None:
        told.append(progress)
        if len(told) == prompts + 2:
            raise ValueError("enough")

    with heard_by(listener), pytest.raises(ValueError, match="enough"):
        moved = settings.model_copy(update={"sample": settings.sample.model_copy(update={"seed": 500})})  # whose references were not drawn yet
        draw("fox", artifacts.learned_embeds("fox"), tmp_path / "samples", moved)
    assert told[-3:] == [("fox", prompts, prompts)] * 3 and not (tmp_path / "samples").exists()


def test_sample_params_rerun_no_inversion(built: Path) -> None:
    edit_params(sample={"guidance_scale": 3.0})
    assert stale_stages() == {"sample@fox", "sample@ink"}
    before = artifacts.train_record("fox").read_bytes()
    assert build()[0] == 0
    assert artifacts.train_record("fox").read_bytes() == before
    assert stale_stages() == set()


def test_a_new_picture_reruns_one_concept(built: Path) -> None:
    draw_picture(artifacts.images("fox") / "3.png", 77)
    other = artifacts.train_record("ink").read_bytes()
    code, output = build()
    assert code == 0, output
    assert artifacts.train_record("ink").read_bytes() == other
    assert artifacts.read_json(artifacts.registered("fox"))["aliases"] == ["challenger"]
    assert artifacts.read_json(artifacts.registered("ink"))["version"] == 1


def test_a_promotion_leaves_nothing_stale(built: Path) -> None:
    refused = CliRunner().invoke(app, ["promote", "fox"])
    assert refused.exit_code == 1 and "other pictures" in refused.output
    assert CliRunner().invoke(app, ["promote", "fox", "--accept", "one picture more"]).exit_code == 0
    assert artifacts.read_json(artifacts.registered("fox"))["aliases"] == ["champion"]
    assert stale_stages() == set() and dvc("status", "register@fox").strip().endswith("up to date.")
    assert CliRunner().invoke(app, ["rollback", "fox"]).exit_code == 0
    assert artifacts.read_json(artifacts.registered("fox"))["aliases"] == ["previous"]
    before = artifacts.train_record("fox").read_bytes()
    edit_params(register={"promote": "when_better"})
    assert stale_stages() == {"register@fox", "register@ink"}
    assert build()[0] == 0
    assert artifacts.train_record("fox").read_bytes() == before
    assert artifacts.read_json(artifacts.registered("fox"))["aliases"] == ["previous"]  # a build does not overrule a rollback
    edit_params(register={"promote": "by_hand"})
    assert build()[0] == 0


def test_a_revoked_concept_is_not_trained_through_either_door(built: Path, forking: dict[str, str]) -> None:
    rate = yaml.safe_load(Path("params.yaml").read_text())["invert"]["learning_rate"]
    assert CliRunner().invoke(app, ["revoke", "ink", "--why", "the painter objects"]).exit_code == 0
    assert stale_stages() == set()
    before = artifacts.train_record("ink").read_bytes()
    edit_params(invert={"learning_rate": 0.0045})
    code, output = build()
    assert code == 0 and "ink is revoked and not built: the painter objects" in output
    assert artifacts.train_record("ink").read_bytes() == before
    assert "invert@ink" in stale_stages() and "invert@fox" not in stale_stages()
    refused = run("python", "-m", "tasks.invert", "--concept", "ink", **forking)
    assert refused.returncode == 1 and "was revoked: the painter objects" in refused.stdout
    assert CliRunner().invoke(app, ["imagine", "a <ink>"]).exit_code == 1
    edit_params(invert={"learning_rate": rate})
    assert CliRunner().invoke(app, ["reinstate", "ink"]).exit_code == 0
    assert build()[0] == 0
    assert artifacts.read_json(artifacts.registered("ink"))["aliases"] == ["champion"]
    assert stale_stages() == set()


def test_a_schedule_can_send_the_flow_to_a_process() -> None:
    assert cloudpickle.loads(cloudpickle.dumps(build_catalog)).name == "build-catalog"


def test_repro_builds_what_the_flow_then_finds_done(built: Path, forking: dict[str, str]) -> None:
    edit_params(invert={"learning_rate": 0.004})
    dvc("repro", **forking)
    code, output = build()
    assert code == 0 and "nothing to do" in output


def test_a_new_registry_gets_every_word_whichever_is_built_first(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forking: dict[str, str]
) -> None:
    shutil.copytree(built, tmp_path / "copy", symlinks=True)
    monkeypatch.chdir(tmp_path / "copy")
    server = {"PREFECT_API_URL": str(get_client(sync_client=True).api_url)}  # that of this process: one for each build takes seconds to start
    assert "nothing to do" in run("wordmint", "build", **forking, **server).stdout  # and remembers it
    shutil.rmtree("mlruns")
    assert run("wordmint", "build", "fox", **forking, **server).returncode == 0
    assert run("wordmint", "build", **forking, **server).returncode == 0
    assert {row["concept"] for row in json.loads(run("wordmint", "list", "--json", **forking).stdout)} == {"fox", "ink"}


def test_params_edited_meanwhile_are_not_recorded(built: Path) -> None:
    with repository.open_repo() as repo, pytest.raises(ValueError, match=r"guidance_scale|sample"), repository.recording(repo, "sample@fox"):
        edit_params(sample={"guidance_scale": 2.0})
    assert "sample@fox" in stale_stages()
    edit_params(sample={"guidance_scale": 3.0})
    assert "sample@fox" not in stale_stages()


@pytest.mark.parametrize("moment", ["before its stages", "after its stages"])
def test_a_concept_that_is_removed_meanwhile_ends_no_build(built: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    before = Path("params.yaml").read_text(encoding="utf-8")

    def remove(*unused: object) -> None:
        params = yaml.safe_load(before)
        del params["concepts"]["ink"]
        Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")

    def build_without(*arguments: Any) -> None:
        remove()
        build_concepts(*arguments)

    name, instead = ("build_concepts", build_without) if moment == "before its stages" else ("show_samples", remove)
    for concept in ("fox", "ink"):
        draw_picture(artifacts.images(concept) / "1.png", 909 if moment == "before its stages" else 910)
    with monkeypatch.context() as patch:
        patch.setattr(f"flows.build_catalog.{name}", instead)
        assert not build_catalog().failed
    assert set(load_settings().concepts) == {"fox"}
    Path("params.yaml").write_text(before, encoding="utf-8")
    code, output = build()
    assert code == 0 and stale_stages() == set(), output


def test_params_that_are_spoilt_meanwhile_lose_no_build(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Path("params.yaml").read_text(encoding="utf-8")
    draw_picture(artifacts.images("fox") / "1.png", 911)
    with monkeypatch.context() as patch:
        patch.setattr("flows.build_catalog.show_samples", lambda outcome: Path("params.yaml").write_text(f"{before}\nconcepts: [", encoding="utf-8"))
        outcome = build_catalog()
    assert not outcome.failed and "register" in outcome.ran["fox"]
    Path("params.yaml").write_text(before, encoding="utf-8")
    code, output = build()
    assert code == 0 and "nothing to do" in output and stale_stages() == set(), output


def test_a_word_that_cannot_start_leaves_its_batch_alone(built: Path) -> None:
    edit_params(invert={"learning_rate": 0.003}, concepts={"ink": {**CONCEPTS["ink"], "initializer_token": "cartoonist"}})
    code, output = build()
    assert code == 1
    assert "ink failed: initializer_token 'cartoonist'" in output
    assert stale_stages() >= {"invert@ink"} and not any(name.endswith("@fox") for name in stale_stages())
    edit_params(concepts={"ink": CONCEPTS["ink"]})


def test_a_file_that_nobody_can_read_fails_its_concept_in_one_line(built: Path) -> None:
    draw_picture(artifacts.images("ink") / "4.png", 78)
    os.mkfifo(artifacts.images("fox") / "x.png")
    try:
        code, _ = build()
        assert code == 1
        assert artifacts.read_json(artifacts.manifest("ink"))["pictures"][-1]["source"] == "4.png"
        result = CliRunner().invoke(app, ["build"])
        assert str(result.exception) == "error: fox failed: data/images/fox/x.png is not a regular file; remove it"
    finally:
        (artifacts.images("fox") / "x.png").unlink()


def test_one_broken_concept_leaves_the_other_alone(built: Path) -> None:
    for path in artifacts.images("ink").iterdir():
        path.write_bytes(b"no picture")
    edit_params(sample={"guidance_scale": 2.5})
    code, output = build()
    assert code == 1
    assert "ink" in output
    assert stale_stages() >= {"curate@ink"} and not any(name.endswith("@fox") for name in stale_stages())


def test_a_killed_inversion_ends_with_the_same_bytes(built: Path, forking: dict[str, str]) -> None:
    edit_params(invert={"max_train_steps": 100})
    invert = ("-m", "tasks.invert", "--concept", "fox")
    fault = {VARIABLE: "one checkpoint in place, the next not=kill"}
    killed = subprocess.run([sys.executable, *invert], env={**os.environ, **fault, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
    assert killed.returncode == -signal.SIGKILL
    assert list(artifacts.checkpoints().glob("fox-*.pt"))
    assert run("python", *invert, **forking).returncode == 0
    resumed = artifacts.learned_embeds("fox").read_bytes()
    assert not list(artifacts.checkpoints().glob("fox-*.pt"))
    assert run("python", *invert, **forking).returncode == 0
    assert artifacts.learned_embeds("fox").read_bytes() == resumed
