"""The gate end to end on tiny models: real pictures of real embeddings, scored by a real CLIP, published in a real MLflow.

The one picture of the concept is drawn by the tiny model itself with a known embedding. That embedding is then the best there can be, and
others are worse: what a training should find, without the training. One picture has one bootstrap, so the intervals are points: a random
CLIP hardly tells pictures apart, and no interval of several would be narrower than the difference.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner

from flows.cli.main import app
from tasks import artifacts
from tasks.diffusion.base_model import BaseModel
from tasks.diffusion.ddim import generate
from tasks.pipeline import repository
from tasks.register import register
from tasks.registry import connection, lifecycle, reading
from tasks.sample import sample
from tasks.score import score
from tasks.settings import Settings, load_settings
from tasks.shipped import shipped
from tasks.versions.rescore import rescore
from tasks.words.embedding_file import embedding_file
from tests.support.tiny import save_tiny_pipeline, save_tiny_scorer

pytestmark = pytest.mark.slow
SEEDS = [0]


def save_blind_scorer(folder: Path, seed: int) -> Path:
    """Write a scorer whose texts and pictures share no dimension: its editability is 0 for all, so reconstruction alone decides."""
    save_tiny_scorer(folder, seed)
    weights = load_file(folder / "open_clip_model.safetensors")
    weights["visual.proj"][:, 8:] = 0
    weights["text_projection"][:, :8] = 0
    save_file(weights, folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture
def catalog(settings: Settings, base: BaseModel) -> Settings:
    """The concept fox with the picture that `rows_of(0)` draws; the random model hardly listens to its text, hence the guidance."""
    save_blind_scorer(Path("data/base/clip"), 0)
    save_blind_scorer(Path("data/base/other-clip"), 1)
    values = settings.model_dump(mode="json")
    values["scorer"] = {"model": "local-dir:data/base/clip", "pretrained": None}
    values["sample"] |= {"num_inference_steps": 2, "guidance_scale": 40.0, "pictures_per_prompt": len(SEEDS)}
    values["sample"]["prompts"]["object"] = ["a photo of a {}", "an oil painting of a {}"]
    values["score"] |= {"bootstrap_samples": 100}
    values["register"]["floor"] = False  # of a random model
    values["runtime"]["device"] = "cpu"
    Path("params.yaml").write_text(json.dumps(values), encoding="utf-8")
    artifacts.write_json(artifacts.manifest("fox"), {"concept": "fox", "pictures": []})
    word = {"<fox>": rows_of(0, base)}
    for seed, picture in zip(SEEDS, generate(base, ["a photo of a <fox>"] * len(SEEDS), SEEDS, word, 2, 40.0, 4), strict=True):
        picture.save(artifacts.curated("fox") / f"{seed}.png")
    return load_settings()


def rows_of(seed: int, base: BaseModel) -> Tensor:
    """Return a random word of one vector, long enough to be heard: (1, dim)."""
    row = torch.randn(1, base.vocabulary.shape[1], generator=torch.Generator().manual_seed(seed))
    return row / row.norm() * base.vocabulary.norm(dim=-1).median() * 40


def learn(seed: int, base: BaseModel, settings: Settings) -> float:
    """Leave what a training would, with the embedding of a seed, sample and score it, and return its reconstruction."""
    word = settings.concept("fox")
    identity = {**base.identity, "model": settings.base.model, "revision": settings.base.revision}
    record = {
        "seed": seed,
        "base": identity,
        "data_sha256": artifacts.folder_digest(artifacts.curated("fox"), "*.png"),
        "settings": {"num_vectors": 1, "placeholder_token": word.placeholder_token, "initializer_token": word.initializer_token},
        "versions": {},
    }
    learned = embedding_file("fox", rows_of(seed, base), record, base.parts, base.architecture)
    artifacts.write_bytes(artifacts.learned_embeds("fox"), learned)
    progress = {"method": "none", "optimizer_steps": 1, "stopped": "cap", "norm": 1.0, "vocabulary_norm_median": 1.0}
    artifacts.write_json(artifacts.train_record("fox"), {"concept": "fox", **progress, **record})
    sample.fn("fox", settings)
    score.fn("fox", settings)
    return artifacts.read_json(artifacts.scores("fox"))["reconstruction"]["value"]


def test_a_worse_retraining_stays_challenger_and_a_better_one_becomes_champion(catalog: Settings, base: BaseModel) -> None:
    worse, champion = sorted((1, 2), key=lambda seed: learn(seed, base, catalog))
    policy = catalog.model_copy(update={"register": catalog.register.model_copy(update={"promote": "when_better"})})
    for seed in (champion, worse):
        learn(seed, base, catalog)
        register.fn("fox", policy)
    assert reading.aliases("fox") == {"champion": 1, "challenger": 2}
    assert reading.tags("fox", 2)["decision"] == "worse"
    learn(0, base, catalog)  # the embedding that the pictures are made with
    register.fn("fox", policy)
    assert reading.tags("fox", 3)["decision"] == "better"
    assert reading.aliases("fox") == {"champion": 3, "previous": 1}  # and who lost does not wait any longer
    assert artifacts.read_json(artifacts.registered("fox"))["aliases"] == ["champion"]
    assert reading.published("fox")[0].read_bytes() == artifacts.learned_embeds("fox").read_bytes()


def test_another_scorer_scores_the_champion_first(catalog: Settings, base: BaseModel) -> None:
    Path("dvc.yaml").write_bytes(shipped("dvc.yaml").read_bytes())
    repository.new_repo(Path())
    old = learn(1, base, catalog)
    register.fn("fox", catalog)
    trained = artifacts.train_record("fox").read_bytes()
    values = json.loads(Path("params.yaml").read_text(encoding="utf-8"))
    values["scorer"]["model"] = "local-dir:data/base/other-clip"
    # The word has another name by now; the champion is scored under its own.
    values["concepts"]["fox"]["placeholder_token"] = "<vixen>"
    Path("params.yaml").write_text(json.dumps(values), encoding="utf-8")
    settings = load_settings()
    new = learn(0, base, settings)
    register.fn("fox", settings)
    registered = artifacts.samples_record("fox").read_bytes(), artifacts.scores("fox").read_bytes()
    assert reading.tags("fox", 2)["decision"] == "rescore"
    assert CliRunner().invoke(app, ["promote", "fox"]).exit_code == 1

    result = CliRunner().invoke(app, ["rescore", "fox", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert found["version"] == 1
    assert (artifacts.samples_record("fox").read_bytes(), artifacts.scores("fox").read_bytes()) == registered
    assert not list(artifacts.CACHE.glob(".rescore-*"))
    rescored = found["scores"]["reconstruction"]["value"]
    tags = reading.tags("fox", 1)
    assert tags["scorer_model"] == "local-dir:data/base/other-clip"
    assert (float(tags["reconstruction"]), tags["pictures_sha256"]) == (rescored, reading.tags("fox", 2)["pictures_sha256"])
    assert rescored != old and rescored < new
    assert trained != artifacts.train_record("fox").read_bytes()  # of the challenger: what was rescored was trained before
    # The challenger was weighed again, and the shipped policy leaves it to a person.
    assert reading.tags("fox", 2)["decision"] == "better"
    assert reading.aliases("fox") == {"champion": 1, "challenger": 2}
    assert lifecycle.promote("fox")[1].promote
    assert reading.aliases("fox") == {"champion": 2, "previous": 1}
    assert [line["event"] for line in reading.events("fox")].count("rescore") == 1

    again = learn(1, base, catalog.model_copy(update={"scorer": settings.scorer}))
    assert again == rescored, "a rescored version has the scores that a build would give it"


def test_a_champion_of_another_base_cannot_be_rescored(catalog: Settings, base: BaseModel) -> None:
    learn(1, base, catalog)
    register.fn("fox", catalog)
    before = reading.tags("fox", 1)
    other = catalog.base.model_copy(update={"model": str(save_tiny_pipeline(Path("data/base/other"), seed=1))})
    with pytest.raises(ValueError, match=r"fox v1 was learned on base \w{12}, but base.model 'data/base/other' is \w{12}.*--accept"):
        rescore("fox", catalog.model_copy(update={"base": other}))
    assert reading.tags("fox", 1) == before


def test_rescoring_needs_pictures_and_a_version(catalog: Settings, base: BaseModel) -> None:
    connection.connect(f"sqlite:///{Path('mlruns/mlflow.db').absolute()}")
    with pytest.raises(ValueError, match="has no champion; build it"):
        rescore("fox", catalog)
    learn(1, base, catalog)
    register.fn("fox", catalog)
    for path in artifacts.curated("fox").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="has no pictures to score against"):
        rescore("fox", catalog)
    with pytest.raises(ValueError, match="has no version 9"):
        rescore("fox", catalog, 9)
    assert lifecycle.history("fox")["versions"][0]["aliases"] == ["champion"]
