"""Publishing against a real MLflow: SQLite, real artifacts, real models-from-code."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest
import yaml
from PIL import Image
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from tasks import artifacts
from tasks.pipeline.storage import recorded_md5
from tasks.register import register
from tasks.registry import connection, lifecycle, publishing, reading, writing
from tasks.registry.connection import tracking_uri
from tasks.registry.promotion import ENDS, JUDGES, SCORES
from tasks.registry.registered_model import defaults_of, weights_sha256
from tasks.settings import Settings
from tests.support.minted import mint, record
from tests.support.tiny import save_tiny_pipeline

LOAD = """
import json, sys
sys.modules["tasks"] = sys.modules["flows"] = None  # importing wordmint fails, however it is installed
import mlflow, pandas
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/concept.fox@champion")
params = {"num_inference_steps": 2}
prompts = ["a photo of a <fox>", "a painting of a <fox> on the beach"]
first = model.predict(prompts, params=params)
table = model.predict(pandas.DataFrame({"prompt": prompts}), params=params)
plain = model.predict(["a photo of a dog", prompts[1]], params=params)
other = model.predict(prompts, params={**params, "seed": 1})
print(json.dumps({
    "png": [picture.startswith(b"\\x89PNG") for picture in first],
    "table_is_list": table == first,
    "word_matters": plain[0] != first[0],
    "pictures_are_independent": plain[1] == first[1],
    "seed_matters": other != first,
}))
"""


def logged_model(version: int) -> Any:
    client = mlflow.MlflowClient()
    return client.get_logged_model(str(client.get_model_version("concept.fox", str(version)).source).removeprefix("models:/"))


def logged_pictures() -> Any:
    inputs: Any = mlflow.MlflowClient().get_run(logged_model(1).source_run_id).inputs
    (pictures,) = inputs.dataset_inputs
    return pictures.dataset


def test_the_same_embedding_is_one_version(settings: Settings) -> None:
    digest = mint(0)
    first = register.fn("fox", settings).read_bytes()
    second = register.fn("fox", settings).read_bytes()
    assert first == second
    assert json.loads(first) == {"name": "concept.fox", "version": 1, "digest": digest, "aliases": ["champion"]}
    assert [row["version"] for row in reading.versions("fox")] == [1]
    found = reading.find_version("fox", digest)
    assert found and found.version == 1
    assert reading.find_version("fox", "0" * 64) is None


def test_a_second_embedding_challenges_the_champion(settings: Settings) -> None:
    mint(0)
    record(settings)
    mint(1, reconstruction=0.5)
    assert (record(settings)["version"], record(settings)["aliases"]) == (2, ["challenger"])
    row = {"concept": "fox", "placeholder_token": "<fox>", "editability": 0.25, "fidelity": None}
    assert reading.catalog() == [
        row | {"version": 1, "alias": "champion", "reconstruction": 0.75},
        row | {"version": 2, "alias": "challenger", "reconstruction": 0.5},
    ]
    mint(2)
    assert record(settings)["aliases"] == ["challenger"]
    assert [(row["version"], row["alias"]) for row in reading.versions("fox")] == [(1, "champion"), (2, None), (3, "challenger")]


def test_a_version_carries_its_evidence(settings: Settings) -> None:
    digest = mint(0)
    record(settings)
    model = logged_model(1)
    metrics = {metric.key: metric.value for metric in model.metrics}
    scores = artifacts.read_json(artifacts.scores("fox"))
    ends = ("low", "high", "image_only", "prompt_only")
    expected = {f"{name}_{end}": scores[name][end] for name in ("reconstruction", "editability") for end in ends}
    assert metrics == expected | {"reconstruction": 0.75, "editability": 0.25, "norm": 0.5, "vocabulary_norm_median": 0.4}
    assert (model.params["learning_rate"], model.params["method"]) == ("0.005", "textual_inversion")
    assert logged_pictures().digest == recorded_md5(artifacts.images("fox"))
    tags = reading.tags("fox", 1)
    assert datetime.fromisoformat(tags.pop("decision_at"))
    assert tags == {
        "digest": digest,
        "placeholder_token": "<fox>",
        "initializer_token": settings.concepts["fox"].initializer_token,
        "kind": "object",
        **{name + end: str(scores[name][key]) for name in SCORES[:2] for key, end in ENDS.items() if scores[name][key] is not None},
        "fidelity_judge": "none",
        "base_model": "data/base/tiny",
        "base_revision": "None",
        "base_weights_sha256": weights_sha256(Path("data/base/tiny")),
        "scorer_model": "tiny",
        "scorer_weights_sha256": "f" * 64,
        "prompt_suite": "object",
        "sampling": "DDIM, 2 steps, guidance 4, seeds 0-1",
        "dataset_digest": logged_pictures().digest,
        "dataset_path": "data/images/fox.dvc",
        "manifest_sha256": artifacts.sha256(artifacts.manifest("fox")),
        "git_revision": "None",
        "git_dirty": "True",
        "flow_run": "None",
        "source": "a test",
        "licence": "CC0-1.0",
        "consent": "it shows nobody",
        "pictures_sha256": "d" * 64,
        "scored_on_sha256": "d" * 64,
        "decision": "first",
        "decision_reason": "there is no champion to compare it with",
        "decision_against": "none",
        "decision_numbers": "{}",
    }
    path, found = reading.published("fox")
    assert path.read_bytes() == artifacts.learned_embeds("fox").read_bytes()
    assert found == reading.tags("fox", 1)
    params, pictures, (sheet,) = reading.training("fox", 1, Path("sheets"))
    assert (params["learning_rate"], pictures["digest"]) == ("0.005", logged_pictures().digest)
    assert Image.open(sheet).size == (4 * 132, 132)


def test_the_picture_set_is_named_by_dvc(settings: Settings) -> None:
    mint(0)
    record(settings)
    pictures = logged_pictures()
    assert (pictures.digest, pictures.source_type) == (recorded_md5(artifacts.images("fox")), "dvc")
    assert json.loads(pictures.source) == {"uri": "data/images/fox.dvc"}
    Path("data/images/fox.dvc").unlink()
    with pytest.raises(ValueError, match=r"data/images/fox is not under DVC, .*; run `dvc add data/images/fox`"):
        record(settings)


def test_new_scores_of_the_same_embedding_update_its_version(settings: Settings) -> None:
    mint(0)
    record(settings)
    mint(0, reconstruction=0.5)
    assert record(settings)["version"] == 1
    assert reading.catalog()[0]["reconstruction"] == 0.5
    latest = max((metric for metric in logged_model(1).metrics if metric.key == "reconstruction"), key=lambda metric: metric.timestamp)
    assert latest.value == 0.5


def test_the_pages_of_mlflow_say_what_a_word_is(settings: Settings, tmp_path: Path) -> None:
    mint(0)
    record(settings)
    client = mlflow.MlflowClient()
    run_id = str(logged_model(1).source_run_id)
    page, text = client.get_registered_model("concept.fox").description, client.get_model_version("concept.fox", "1").description
    notes = [client.get_run(run_id).data.tags["mlflow.note.content"], logged_model(1).tags["mlflow.note.content"]]
    assert "models:/concept.fox@champion" in page and "- **reconstruction 0.750** [0.700, 0.800]" in text
    for said in (page, text, *notes):
        assert "`<fox>` is a word for an object." in said and run_id in said and str(tmp_path) not in said
    assert {entry.path for entry in client.list_artifacts(run_id)} == {"manifest.json", "overview.jpg", "samples"}

    client.update_model_version("concept.fox", "1", f"{text}\n\nBen likes it.")
    client.update_registered_model("concept.fox", "Our mascot.")
    mint(0, reconstruction=0.5)
    record(settings)
    again = client.get_model_version("concept.fox", "1").description
    assert "- **reconstruction 0.500** [0.450, 0.550]" in again and again.endswith("Ben likes it.")
    assert client.get_registered_model("concept.fox").description == "Our mascot."


def test_the_example_of_a_version_is_a_prompt(settings: Settings) -> None:
    mint(0)
    record(settings)
    place = mlflow.artifacts.download_artifacts("models:/concept.fox/1")
    assert mlflow.models.Model.load(place).load_input_example(place) == ["a photo of <fox>"]


def registering_killed_after(writes: int, settings: Settings) -> bool:
    """Register in a process that is killed right after its n-th write to the database; tell whether it lived to the end."""
    if pid := os.fork():
        status = os.waitpid(pid, 0)[1]
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
        return not os.WIFSIGNALED(status)
    try:
        die_after(writes)
        register.fn("fox", settings)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)  # past pytest's own end


def die_after(writes: int) -> None:
    """Kill this process with SIGKILL after so many transactions that wrote something; 0 is before the first."""
    done, dirty, commit = 0, False, Session.commit

    def watch(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        nonlocal dirty
        dirty = dirty or statement.lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE"))
        if dirty and done == writes:
            os.kill(os.getpid(), signal.SIGKILL)

    def count(session: Session) -> None:
        nonlocal done, dirty
        commit(session)
        done, dirty = done + dirty, False

    event.listen(Engine, "before_cursor_execute", watch)
    Session.commit = count  # type: ignore[method-assign]


def check_what_aliases_reach() -> None:
    for alias, number in reading.aliases("fox").items():
        path, tags = reading.fetch("fox", number)
        assert artifacts.sha256(path) == tags["digest"], alias
        assert all(tags[field] for field in (*JUDGES, "base_weights_sha256", "pictures_sha256", "reconstruction_low")), alias
        assert tags["decision"], alias
        assert any(line["version"] == number for line in reading.events("fox")), alias


@pytest.mark.slow
@pytest.mark.parametrize("before", [0, 1], ids=["the first version", "a better second version"])
def test_registering_survives_a_kill_after_any_write(
    settings: Settings, migrated_database: Path, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    """Only what is killed in a process of its own is killed: nothing is undone on the way out."""
    settings = settings.model_copy(update={"register": settings.register.model_copy(update={"promote": "when_better"})})
    home = Path.cwd()
    for writes in itertools.count():
        shutil.copytree(home, home / f"killed-{writes}", ignore=shutil.ignore_patterns("killed-*"))
        monkeypatch.chdir(home / f"killed-{writes}")
        if before:
            mint(0, reconstruction=0.6)
            assert registering_killed_after(10_000, settings)
            artifacts.registered("fox").unlink()
        digest = mint(1)
        lived = registering_killed_after(writes, settings)
        connection.connect(tracking_uri(settings))
        check_what_aliases_reach()
        assert record(settings) == {"name": "concept.fox", "version": before + 1, "digest": digest, "aliases": ["champion"]}
        check_what_aliases_reach()
        assert reading.aliases("fox") == {"champion": before + 1} | ({"previous": 1} if before else {})
        assert [row["version"] for row in reading.described("fox")] == list(range(1, before + 2))
        monkeypatch.chdir(home)
        if lived:
            break
    assert writes > 10


def test_a_crash_leaves_nothing_to_reach_and_the_next_run_completes_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    mint(0)

    def crash(*_: Any) -> None:
        raise RuntimeError("the power went")

    for module, step in ((publishing, "verify"), (lifecycle, "settle")):
        with monkeypatch.context() as patch:
            patch.setattr(module, step, crash)
            with pytest.raises(RuntimeError, match="the power went"):
                register.fn("fox", settings)
        assert reading.catalog() == []
        assert not artifacts.registered("fox").exists()
        with pytest.raises(ValueError, match="no champion"):
            reading.published("fox")
    assert record(settings) | {"digest": ""} == {"name": "concept.fox", "version": 1, "digest": "", "aliases": ["champion"]}
    assert len(reading.versions("fox")) == 1


@pytest.mark.parametrize(
    ("write", "read"),
    [
        (lambda: writing.set_alias(reading.entry("fox"), "champion", 1), lambda: reading.aliases("fox")["champion"]),
        (lambda: writing.set_tags("fox", 1, {"decision": "better"}), lambda: reading.tags("fox", 1)["decision"]),
        (lambda: writing.set_revocation(reading.entry("fox"), {"why": "rights"}), lambda: reading.revocation("fox")),
    ],
    ids=["alias", "tag", "revocation"],
)
def test_two_machines_that_make_one_row_at_once_both_succeed(settings: Settings, write: Callable[[], None], read: Callable[[], Any]) -> None:
    connection.connect(tracking_uri(settings))
    client = mlflow.MlflowClient()
    client.create_registered_model("concept.fox")
    client.create_model_version("concept.fox", "nowhere")
    writes = []

    def the_other_machine(*_: Any) -> None:  # between this one's question whether the row is there and its row
        writes.append("theirs")
        write()

    event.listen(Session, "before_flush", the_other_machine, once=True)
    write()
    assert writes == ["theirs"]
    assert read() in (1, "better", {"why": "rights"})


def test_a_fresh_registry_is_filled_again(settings: Settings, migrated_database: Path) -> None:
    mint(0)
    first = record(settings)
    shutil.rmtree("mlruns")
    Path("elsewhere").mkdir()
    shutil.copy(migrated_database, "elsewhere/mlflow.db")
    moved = settings.model_copy(
        update={"runtime": settings.runtime.model_copy(update={"tracking_uri": f"sqlite:///{Path('elsewhere/mlflow.db').absolute()}"})}
    )
    assert record(moved) == first
    assert [row["alias"] for row in reading.catalog()] == ["champion"]


def test_damaged_artifacts_are_an_error(settings: Settings) -> None:
    mint(0)
    record(settings)
    (stored,) = Path("mlruns/artifacts").rglob("learned_embeds.safetensors")
    stored.write_bytes(b"rotten")
    with pytest.raises(ValueError, match="reads back"):
        register.fn("fox", settings)
    with pytest.raises(ValueError, match="was registered with SHA-256"):
        reading.published("fox")
    stored.unlink()
    with pytest.raises(ValueError, match="is gone from"):
        register.fn("fox", settings)


def test_scores_of_another_embedding_are_refused(settings: Settings) -> None:
    mint(0)
    scores = artifacts.read_json(artifacts.scores("fox"))
    artifacts.write_json(artifacts.scores("fox"), scores | {"embedding_digest": "0" * 64})
    with pytest.raises(ValueError, match=r"data/scores/fox\.json scores embedding 0000"):
        register.fn("fox", settings)


def test_an_address_that_mlflow_refuses_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConnectionError, match="MLFLOW_TRACKING_URI") as error:
        connection.connect(str(tmp_path / "mlruns"))
    assert "\n" not in str(error.value)


def load_elsewhere(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Load the champion in a process that cannot import wordmint, from a folder that holds nothing."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-I", "-c", LOAD, f"sqlite:///{tmp_path / 'mlruns/mlflow.db'}"]
    return subprocess.run(command, cwd=elsewhere, env=clean | environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_champion_loads_without_wordmint(settings: Settings, tmp_path: Path) -> None:
    mint(0)
    record(settings)
    result = load_elsewhere(tmp_path, WORDMINT_BASE_MODEL=str(tmp_path / "data/base/tiny"))
    assert result.returncode == 0, result.stderr
    outcome = json.loads(result.stdout.splitlines()[-1])
    assert outcome["png"] == [True, True]
    assert [name for name, holds in outcome.items() if not holds] == []


def test_a_base_model_that_moved_is_asked_for(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mint(0)
    record(settings)
    monkeypatch.setenv("WORDMINT_BASE_MODEL", str(tmp_path / "data/base/tiny"))
    shutil.move("data/base/tiny", "moved")
    with pytest.raises(Exception, match="the base model is not at"):
        mlflow.pyfunc.load_model("models:/concept.fox@champion")
    monkeypatch.delenv("WORDMINT_BASE_MODEL")
    with pytest.raises(Exception, match="set WORDMINT_BASE_MODEL to its folder"):
        mlflow.pyfunc.load_model("models:/concept.fox@champion")
    monkeypatch.setenv("WORDMINT_BASE_MODEL", str(tmp_path / "moved"))
    assert mlflow.pyfunc.load_model("models:/concept.fox@champion").predict(["a <fox>"], params={"num_inference_steps": 1})


def test_a_prediction_is_drawn_as_the_versions_samples_were(settings: Settings) -> None:
    mint(0)
    samples = artifacts.read_json(artifacts.samples_record("fox"))
    artifacts.write_json(artifacts.samples_record("fox"), samples | {"num_inference_steps": 7, "guidance_scale": 2.5})
    record(settings)
    model = mlflow.pyfunc.load_model("models:/concept.fox@champion")
    config = model.model_config
    assert (config["num_inference_steps"], config["guidance_scale"], config["sampler"]) == (7, 2.5, "ddim")
    assert {param.name: param.default for param in model.metadata.signature.params} == {"seed": 0, "num_inference_steps": 7, "guidance_scale": 2.5}
    calls = []
    concept = model.unwrap_python_model()
    concept.pipeline = lambda prompt, **given: calls.append(given) or SimpleNamespace(images=[Image.new("RGB", (2, 2))])
    concept.predict(["a <fox>"])
    assert [(given["num_inference_steps"], given["guidance_scale"]) for given in calls] == [(7, 2.5)]
    assert defaults_of({}) == {"seed": 0, "num_inference_steps": 50, "guidance_scale": 4.0}  # of a version from before


def test_nothing_that_is_published_has_a_path_of_this_machine(settings: Settings, tmp_path: Path) -> None:
    mint(0)
    record(settings)
    model = logged_model(1)
    run = mlflow.MlflowClient().get_run(model.source_run_id)
    tags = reading.tags("fox", 1)
    told = [dict(model.params), tags, dict(run.data.params), [entry.dataset.source for entry in run.inputs.dataset_inputs]]
    assert str(tmp_path) not in json.dumps(told)
    place = Path(mlflow.artifacts.download_artifacts("models:/concept.fox/1", dst_path=str(tmp_path / "copy")))
    texts = [path.read_text(encoding="utf-8") for path in place.rglob("*") if path.name == "MLmodel"]
    flavor = yaml.safe_load(texts[0])["flavors"]["python_function"]
    assert str(tmp_path) not in json.dumps(flavor)
    assert flavor["model_code_path"] == "registered_model.py"


@pytest.mark.slow
def test_other_base_weights_are_refused(settings: Settings, tmp_path: Path) -> None:
    mint(0)
    record(settings)
    recorded = weights_sha256(Path("data/base/tiny"))
    other = save_tiny_pipeline(tmp_path / "other", seed=1)
    result = load_elsewhere(tmp_path, WORDMINT_BASE_MODEL=str(other))
    assert result.returncode != 0
    assert recorded in result.stderr
    assert weights_sha256(other) in result.stderr
