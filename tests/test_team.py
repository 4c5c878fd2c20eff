"""docs/team.md, block by block: two people with a home and a clone each, an MLflow server with users, a bucket behind it, a Prefect server."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import traceback
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock

from tasks import artifacts
from tasks.pipeline import repository
from tasks.register import register
from tasks.registry import connection, publishing
from tasks.settings import Settings
from tests.support.catalogs import draw_picture
from tests.support.minted import mint
from tests.support.preloaded import preloaded
from tests.support.services import BUCKET_KEYS, answers, free_port, s3, started, wait_for

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```sh ([a-z ]+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
pytestmark = pytest.mark.services  # they go on where the one before stopped


class Team:
    """The page's blocks, to be run by their names; the first word of a name is who runs them, in a folder and home of their own."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self.folder, self.endpoint = folder, endpoint
        self.mlflow, self.prefect = free_port(), free_port()
        page = (ROOT / "docs/team.md").read_text(encoding="utf-8")
        here = {
            "/srv/wordmint/artifacts": "s3://mlflow",
            "/srv/wordmint": str(folder / "srv"),
            ":5000": f":{self.mlflow}",
            ":4200": f":{self.prefect}",
        }
        here |= {"--port 5000": f"--port {self.mlflow}", "--port 4200": f"--port {self.prefect}"}
        for shown, meant in here.items():
            assert shown in page
            page = page.replace(shown, meant)
        self.blocks = [(name, script) for name, script in BLOCK.findall(page) if name != "install"]
        self.environment = {
            "PATH": os.pathsep.join([str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]),
            **{
                name: value for name, value in os.environ.items() if name in ("DO_NOT_TRACK", "DVC_NO_ANALYTICS", "HF_HUB_OFFLINE", "OMP_NUM_THREADS")
            },
            **{"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_LOGGING_LEVEL": "WARNING", "MLFLOW_DISABLE_TELEMETRY": "true"},
            **{f"GIT_{role}_{what}": "tester@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }

    def take(self, name: str) -> str:
        """Return the script of the next block, which has to be this one."""
        found, script = self.blocks.pop(0)
        assert found == name
        return script

    def run(self, name: str) -> str:
        return self.say(name.split()[0], self.take(name))

    def say(self, person: str, script: str, code: int = 0) -> str:
        """Run a script as a person, who keeps the environment of the last one, and return what it printed."""
        home, folder = self.folder / "homes" / person, self.folder / person
        for place in (home, folder):
            place.mkdir(parents=True, exist_ok=True)
        remembered = f"set -euo pipefail\n[ ! -e {home}/env ] || . {home}/env\n{script}\nexport -p > {home}/env"
        done = subprocess.run(
            ["bash", "-c", remembered], cwd=folder, env=self.environment | {"HOME": str(home)}, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, f"{person}: {script}\n{done.stdout}\n{done.stderr}"
        return " ".join((done.stdout + done.stderr).split())

    def listed(self, person: str) -> dict[str, int]:
        rows = json.loads(self.say(person, "wordmint list --json"))
        return {f"{row['concept']}@{row['alias']}": row["version"] for row in rows}

    def trainings(self) -> list[str]:
        """Return the task runs of Prefect's server in which words were trained."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.prefect}/api/task_runs/filter", b'{"limit": 200}', {"Content-Type": "application/json"}
        )
        return [run["name"] for run in json.load(urllib.request.urlopen(request)) if run["name"].startswith("invert")]


def seed_catalog(folder: Path, base: Path, scorer: Path) -> None:
    """Give a new catalog tiny models, settings that take seconds, and one concept, whose pictures lie in a remote inside it."""
    shutil.copytree(base, folder / "data/base/tiny")
    shutil.copytree(scorer, folder / "data/base/tiny-clip")
    params = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    params["concepts"] = {"teapot": {"kind": "object", "placeholder_token": "<teapot>", "initializer_token": "coffee"}}
    params["base"] = {"model": "data/base/tiny", "revision": None}
    params["scorer"] = {"model": "local-dir:data/base/tiny-clip", "pretrained": None}
    params["score"]["fidelity"], params["register"]["floor"] = None, False
    params["curate"] |= {"min_similarity": -1.0, "min_side": 8, "min_sharpness": 0.0, "near_duplicate_distance": 0}
    params["invert"] |= {"method": "norm_held", "options": {}, "max_train_steps": 4}
    prompts = {kind: suite[:2] for kind, suite in params["sample"]["prompts"].items()}
    params["sample"] |= {"num_inference_steps": 2, "pictures_per_prompt": 2, "prompts": prompts}
    params["runtime"]["device"] = "cpu"
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    for number in range(3):
        draw_picture(folder / f"data/images/teapot/{number}.png", number)
    (folder / "data/images/teapot.yaml").write_text("undeclared: drawn for this test", encoding="utf-8")
    (folder / ".dvc/config").write_text("[core]\n    remote = example\n['remote \"example\"']\n    url = ../data/remote\n", encoding="utf-8")
    with repository.Repo(str(folder)) as repo:
        repo.add([str(folder / "data/images/teapot")])
        repo.push()
    shutil.rmtree(folder / ".dvc/cache")


@pytest.fixture(scope="module")
def team(
    tmp_path_factory: pytest.TempPathFactory, bucket: str, migrated_database: Path, tiny_base_folder: Path, tiny_scorer_folder: Path
) -> Iterator[Team]:
    """The servers of the page, started by its blocks."""
    folder = tmp_path_factory.mktemp("team")
    s3(bucket).create_bucket(Bucket="mlflow")
    team = Team(folder, bucket)
    for place in ("srv", "server"):
        (folder / place).mkdir()
    shutil.copy(migrated_database, folder / "srv/mlflow.db")
    own = {"HOME": str(folder)} | team.environment
    in_bucket = own | BUCKET_KEYS | {"MLFLOW_S3_ENDPOINT_URL": bucket}
    with ExitStack() as stack:
        stack.enter_context(preloaded(folder, own))
        team.run("server makes")
        seed_catalog(folder / "server/catalog", tiny_base_folder, tiny_scorer_folder)
        team.say("server", team.take("git"))
        mlflow = stack.enter_context(started(["bash", "-ec", team.take("mlflow")], folder / "mlflow.log", env=in_bucket))
        prefect = stack.enter_context(started(["bash", "-ec", team.take("prefect")], folder / "prefect.log", env=own))
        wait_for(mlflow, lambda: answers(f"http://127.0.0.1:{team.mlflow}/health"), folder / "mlflow.log")
        wait_for(prefect, lambda: answers(f"http://127.0.0.1:{team.prefect}/api/health"), folder / "prefect.log")
        team.run("users")
        yield team


def test_the_page_from_two_empty_folders(team: Team) -> None:
    team.run("ann")
    assert "seconds" in team.run("ann")
    assert team.listed("ann") == {"granny@champion": 1, "teapot@champion": 1}
    assert len(team.trainings()) == 1  # both words in one batch
    team.run("ann")

    said = team.run("ben")
    assert "every concept is up to date" in said and "nothing to do" in said
    assert len(list((team.folder / "ben/imagined").rglob("*.png"))) == 1
    assert len(team.trainings()) == 1
    team.run("ben again")
    assert team.listed("ben") == {"granny@champion": 1, "granny@challenger": 2, "teapot@champion": 1}
    assert len(team.trainings()) == 2

    said = team.run("ann promotes")
    assert "every concept is up to date" in said and "nothing to do" in said and "granny v2 is champion" in said
    assert len(list((team.folder / "ann/data/images/granny").iterdir())) == 4
    team.run("ben meanwhile")
    said = team.run("ben merges")
    assert "CONFLICT" not in said and "every concept is up to date" in said and "nothing to do" in said
    assert artifacts.read_json(team.folder / "ben/data/registered/granny.json")["aliases"] == ["champion"]

    team.say("ann", "git pull --quiet && wordmint pull && wordmint build")
    assert team.listed("ann") == {"granny@champion": 2, "granny@previous": 1, "sketched@champion": 1, "teapot@champion": 1}
    assert len(team.trainings()) == 3
    for name in ("dvc.lock", "params.yaml", *(f"data/embeddings/{key}/learned_embeds.safetensors" for key in ("granny", "sketched", "teapot"))):
        assert (team.folder / "ann" / name).read_bytes() == (team.folder / "ben" / name).read_bytes()

    said = team.run("guest")
    assert said.endswith("error: MLflow does not let this user write; its administrator can, as docs/team.md says refused")
    assert team.listed("ann")["granny@champion"] == 2
    assert team.blocks == []  # the page has no block that was not run

    said = team.say("guest", "MLFLOW_TRACKING_PASSWORD=guessed wordmint list", code=1)
    assert said == "error: MLflow does not know this user; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    stored = s3(team.endpoint).list_objects_v2(Bucket="mlflow")["Contents"]
    assert sum(entry["Key"].endswith("learned_embeds.safetensors") for entry in stored) == 4
    assert not any(name.startswith("AWS_") for name in team.environment)


def test_a_new_registry_is_filled_without_training(team: Team, migrated_database: Path) -> None:
    (team.folder / "ann/mlruns").mkdir()
    shutil.copy(migrated_database, team.folder / "ann/mlruns/mlflow.db")
    said = team.say("ann", "unset MLFLOW_TRACKING_URI && wordmint build")
    assert "nothing to do" not in said and len(team.trainings()) == 3
    assert team.listed("ann") == {"granny@champion": 1, "sketched@champion": 1, "teapot@champion": 1}


def test_two_machines_that_register_the_same_bytes_at_once_leave_one_version(team: Team, settings: Settings, tmp_path: Path) -> None:
    digest = mint(0)
    children = []
    for person in ("ann", "ben"):
        shutil.copytree(tmp_path / "data", tmp_path / person / "data")
        children.append(os.fork())
        if not children[-1]:
            register_beside(tmp_path, person, settings, team)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    records = [artifacts.read_json(tmp_path / person / artifacts.registered("fox")) for person in ("ann", "ben")]
    assert records[0] == records[1] == {"name": "concept.fox", "version": 1, "digest": digest, "aliases": ["champion"]}
    found = team.say(
        "ann",
        "curl --silent --fail -u ann:change-me-ann $SERVER/api/2.0/mlflow/model-versions/search".replace(
            "$SERVER", f"http://127.0.0.1:{team.mlflow}"
        ),
    )
    versions = [version for version in json.loads(found)["model_versions"] if version["name"] == "concept.fox"]
    assert [version["version"] for version in versions] == ["1"]


def register_beside(meeting: Path, person: str, settings: Settings, team: Team) -> None:
    """Register fox as a machine of its own, and go on only when the other one has found no version of it either."""
    try:
        os.chdir(meeting / person)
        connection.machine_lock = lambda name: FileLock(f"{name}.lock")  # two machines share no lock
        os.environ.update(
            MLFLOW_TRACKING_URI=f"http://127.0.0.1:{team.mlflow}", MLFLOW_TRACKING_USERNAME=person, MLFLOW_TRACKING_PASSWORD=f"change-me-{person}"
        )
        verify = publishing.verify

        def meet(*arguments: Any) -> None:
            (meeting / f"{person} is here").touch()
            deadline = time.monotonic() + 120
            while len(list(meeting.glob("* is here"))) < 2:
                assert time.monotonic() < deadline, "the other process never came so far"
                time.sleep(0.05)
            verify(*arguments)

        publishing.verify = meet
        register.fn("fox", settings)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)  # past pytest's own end
