"""A study on tiny random models, through Prefect, DVC and MLflow for real."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from flows.study import catalog_folder, page_folder, study
from tasks import artifacts
from tasks.concepts.captions import read_contexts
from tasks.diffusion.base_model import base_family
from tasks.registry import connection
from tasks.registry.connection import tracking_uri
from tasks.settings import Settings, load_settings, read_params
from tasks.study.cells import PLAN, Plan, cells_of, impossible, lay_out, load_plan, parameters
from tasks.study.guide import load_guide
from tests.support.tiny import save_tiny_pipeline

ROOT = Path(__file__).parents[2]
PLAIN = {"max_train_steps": 12, "batch_size": 2, "early_stop": None}
TINY_PLAN = {
    "things": {"fox": "dog"},
    "pictures": 3,
    "seeds": [0, 1],
    "pictures_per_prompt": 2,
    "num_inference_steps": 2,
    "setups": {"plain": {}, "two-vectors": {"num_vectors": 2}},
    "sizes": [1, 3],
    "guided": {"guidance_scale": 9.0, "setups": ["plain", "two-vectors"]},
    "stop": {"cap": {}, "early": {"early_stop": {"every": 1, "pictures": 2, "window": 2, "ratio": 0.99}}},
    "stop_things": 1,
}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory, tiny_base_folder: Path, tiny_scorer_folder: Path, migrated_database: Path) -> Iterator[Path]:
    """A repository with three pictures of a thing, and a plan for seconds."""
    folder = tmp_path_factory.mktemp("study")
    with contextlib.chdir(folder):
        shutil.copytree(tiny_base_folder, "data/base/tiny")
        shutil.copytree(tiny_scorer_folder, "data/base/tiny-clip")
        Path("mlruns").mkdir()
        shutil.copy(migrated_database, "mlruns/mlflow.db")
        shutil.copy(ROOT / "dvc.yaml", "dvc.yaml")
        params = yaml.safe_load((ROOT / "params.yaml").read_text())
        params["base"] = {"model": "data/base/tiny", "revision": None}
        params["scorer"] = {"model": "local-dir:data/base/tiny-clip", "pretrained": None}
        params["score"]["fidelity"] = None
        params["sample"]["reference_pictures"] = 2
        params["concepts"] = {"fox": {"kind": "object", "placeholder_token": "<fox>", "initializer_token": "dog"}}
        Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
        plan = yaml.safe_load((ROOT / PLAN).read_text())
        shutil.copytree(tiny_scorer_folder, "data/base/guide")
        weights = "data/base/guide/open_clip_model.safetensors"
        save_file({name: value * 1.01 for name, value in load_file(weights).items()}, weights)
        guide = plan["guide"] | {"model": "local-dir:data/base/guide", "pretrained": None}
        quick = {"seeds": [1], "guided": {"guidance_scale": 9.0, "setups": ["two-vectors"]}}
        plan = {"plain": plan["plain"] | PLAIN, **TINY_PLAN, "guide": guide, "quick": quick}
        artifacts.write_bytes(PLAN, yaml.safe_dump(plan).encode())
        artifacts.larger("fox").mkdir(parents=True)
        for picture in range(3):
            blocks = np.random.default_rng([3, picture]).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(blocks).resize((96, 96), Image.Resampling.NEAREST).save(artifacts.larger("fox") / f"{picture}.png")
        (artifacts.larger("fox") / "captions.yaml").write_text("context: {0.png: on the grass, 2.png: in the snow}")
        for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
            subprocess.run(command, check=True)
        previous = os.environ.pop("MLFLOW_TRACKING_URI", None)
        yield folder
        os.environ.update({"MLFLOW_TRACKING_URI": previous} if previous else {})


@pytest.mark.parametrize("quick", [False, True])
def test_the_shipped_plan_can_be_learned_from(quick: bool) -> None:
    with contextlib.chdir(ROOT):
        plan, settings = load_plan(quick), load_settings()
        cells = list(cells_of(plan))
        catalog = Settings.model_validate(parameters(cells, plan, settings))
    assert {catalog.inversion(cell.key).seed for cell in cells} == set(plan.seeds)


def test_every_part_of_the_plan_has_its_cells(catalog: Path) -> None:
    cells = list(cells_of(load_plan(quick=False)))
    assert len({cell.name for cell in cells}) == len(cells) == 2 * 2 + 2 * 2 + 2 + 2
    assert "fox-setup-two-vectors-1" in [cell.key for cell in cells]
    assert {cell.seed for cell in cells_of(load_plan(quick=True))} == {1}


def test_a_cell_is_a_concept_that_learns_as_its_setup_says(catalog: Path, tmp_path: Path) -> None:
    plan = load_plan(quick=False)
    lay_out([cell for cell in cells_of(plan) if cell.kind != "guided"], plan, load_settings(), tmp_path, tmp_path)
    settings = load_settings(tmp_path / "params.yaml")
    assert settings.inversion("fox-setup-two-vectors-1").num_vectors == 2
    assert settings.inversion("fox-setup-two-vectors-1").seed == 1
    assert settings.inversion("fox-stop-early-0").early_stop
    assert len(list((tmp_path / artifacts.images("fox-size-3-0")).glob("*.png"))) == 3
    assert read_contexts(tmp_path / artifacts.images("fox-size-1-0"), ["0.png"]) == {"0.png": "on the grass"}
    assert len(list((tmp_path / artifacts.images("fox-setup-plain-0")).glob("*.png"))) == 3


def test_a_setup_may_be_trained_once_and_start_as_another_word(catalog: Path) -> None:
    setups = {"plain": {}, "two-vectors": {"initializer_token": "cat"}}
    plan = load_plan(quick=False).model_copy(update={"once": ("two-vectors",), "setups": setups})
    cells = [cell for cell in cells_of(plan) if cell.kind == "setup"]
    assert [cell.name for cell in cells] == ["fox-setup-plain-0", "fox-setup-plain-1", "fox-setup-two-vectors-0"]
    concepts = parameters(cells, plan, load_settings())["concepts"]
    assert [concept["initializer_token"] for concept in concepts.values()] == ["dog", "dog", "cat"]


def test_setups_that_the_base_cannot_learn_are_known(tiny_base_folder: Path, tmp_path: Path) -> None:
    with contextlib.chdir(ROOT):
        plan = load_plan(quick=False)
    unet, transformer = (base_family(str(folder), None) for folder in (tiny_base_folder, save_tiny_pipeline(tmp_path / "tiny", family="z-image")))
    assert impossible(plan, unet, "an encoder") == []
    assert impossible(plan, unet, None) == ["encoder"]
    assert impossible(plan, transformer, None) == ["encoder", "extended", "perfusion"]


def test_more_pictures_than_there_are_is_an_error(catalog: Path, tmp_path: Path) -> None:
    plan = load_plan(quick=False).model_copy(update={"sizes": (1, 7)})
    with pytest.raises(ValueError, match="has 3 pictures, and the study wants 7"):
        lay_out(list(cells_of(plan)), plan, load_settings(), tmp_path, tmp_path)


def test_guided_cells_learn_as_their_setup_and_are_drawn_with_their_guidance(catalog: Path, tmp_path: Path) -> None:
    plan = load_plan(quick=False)
    lay_out([cell for cell in cells_of(plan) if cell.kind == "guided"], plan, load_settings(), tmp_path, tmp_path)
    settings = load_settings(tmp_path / "params.yaml")
    assert settings.sample.guidance_scale == 9
    assert settings.inversion("fox-setup-two-vectors-1").num_vectors == 2
    assert len(settings.concepts) == 4


@pytest.mark.parametrize(
    ("key", "change"), [("guided.setups", {"guided": {"guidance_scale": 9.0, "setups": ["plane"]}}), ("once", {"once": ["plane"]})]
)
def test_a_setup_that_is_none_is_refused(catalog: Path, key: str, change: dict) -> None:
    document = read_params(PLAN) | change
    document.pop("quick")
    with pytest.raises(ValueError, match=f"{key} has plane, which is no setup; the setups are plain, two-vectors"):
        Plan.model_validate(document)


@pytest.mark.slow
def test_a_study_writes_its_page_and_runs_once(catalog: Path) -> None:
    cells = list(cells_of(load_plan(quick=False)))
    (page_folder(False) / "sheet-of-an-earlier-setup.webp").touch()
    first = study()
    assert set(first.ran) == {cell.key for cell in cells}
    guided = {cell.key for cell in cells if cell.kind == "guided"}
    assert {key for key, stages in first.restored.items() if "invert" in stages} == guided  # no word is trained twice
    rivals = [f"fox-rival-{name}-0" for name in ("bipartite-1", "bipartite-4", "bipartite-9", "clip-guided", "palavra")]
    page = (page_folder(False) / "README.md").read_text()
    assert all(f"| ({letter}) |" in page for letter in "abcdefgh")
    assert {path.name for path in page_folder(False).iterdir()} == {
        *("README.md", "results.json", "study.yaml", "plane.svg", "sizes.svg", "sheet-plain.webp", "sheet-two-vectors.webp"),
        *(f"sheet-{rival.split('-', 2)[2].removesuffix('-0')}.webp" for rival in rivals),
    }
    assert artifacts.read_json(page_folder(False) / "results.json")["cells"]["fox-stop-early-0"]["optimizer_steps"] < PLAIN["max_train_steps"]
    assert study().ran == {}
    assert (page_folder(False) / "README.md").read_text() == page

    import mlflow

    connection.connect(tracking_uri(load_settings()))
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("wordmint-study")
    assert sorted(run.info.run_name for run in client.search_runs([experiment.experiment_id])) == sorted([*(cell.name for cell in cells), *rivals])
    assert client.search_registered_models() == []


@pytest.mark.slow
def test_cells_that_the_base_cannot_learn_are_left_out(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.study.impossible", lambda plan, family, encoder: ["two-vectors", "early"])
    cells = list(cells_of(load_plan(quick=True)))
    assert {cell.setup for cell in cells if cell.kind == "guided"} == {"two-vectors"}
    possible = {cell.key for cell in cells if cell.setup != "two-vectors"}
    assert set(study(quick=True).ran) == possible > {"fox-stop-early-1"}  # what stops early is the plain method
    assert not catalog_folder(True, guided=True).exists()


@pytest.mark.slow
def test_a_changed_setup_reruns_its_cells_alone(catalog: Path) -> None:
    study()
    plan = yaml.safe_load(PLAN.read_text())
    plan["setups"]["two-vectors"]["num_vectors"] = 3
    artifacts.write_bytes(PLAN, yaml.safe_dump(plan).encode())
    assert sorted(study().ran) == ["fox-setup-two-vectors-0", "fox-setup-two-vectors-1"]


@pytest.mark.slow
def test_a_changed_guide_redraws_its_rows(catalog: Path) -> None:
    study()
    before = artifacts.read_json(page_folder(False) / "results.json")["cells"]
    plan = yaml.safe_load(PLAN.read_text())
    plan["guide"]["scale"] = 3000.0
    artifacts.write_bytes(PLAN, yaml.safe_dump(plan).encode())
    assert study().ran == {}
    after = artifacts.read_json(page_folder(False) / "results.json")["cells"]
    changed = {cell for cell in after if {**after[cell], "seconds": 0} != {**before[cell], "seconds": 0}}
    assert "fox-rival-palavra-0" in changed
    assert all("-rival-" in cell for cell in changed)


@pytest.mark.slow
def test_a_setup_that_the_base_cannot_learn_is_left_out_and_named(catalog: Path) -> None:
    study()
    plan = yaml.safe_load(PLAN.read_text())
    plan["setups"]["encoder"] = {"initializer_token": "<from-pictures>"}
    artifacts.write_bytes(PLAN, yaml.safe_dump(plan, sort_keys=False).encode())
    assert study().ran == {}
    assert "so they are left out: encoder." in (page_folder(False) / "README.md").read_text()


def test_the_scorer_may_not_guide(catalog: Path) -> None:
    plan, settings = load_plan(quick=False), load_settings()
    itself = plan.guide.model_copy(update={"model": settings.scorer.model})
    with pytest.raises(ValueError, match="tiny-clip, is the scorer too, so its pictures would be made for the score; name another CLIP"):
        load_guide(plan.model_copy(update={"guide": itself}), settings)


def test_a_quick_study_stays_out_of_the_published_page(catalog: Path) -> None:
    assert catalog_folder(True) in page_folder(True).parents
    assert page_folder(False) == PLAN.parent
