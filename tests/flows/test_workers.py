"""A schedule and workers for real: a Prefect server with its own database, `wordmint serve`, and two worker processes on one catalog."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from prefect import flow, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, TaskRun
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Scheduled

from flows import workers
from flows.outcome import rows_of
from tasks import artifacts
from tasks.pipeline.graph import STAGES
from tasks.registry import connection, reading
from tasks.registry.connection import tracking_uri
from tasks.settings import load_settings
from tests.support.catalogs import CONCEPTS, ROOT, draw_picture, dvc, edit_params
from tests.support.services import answers, free_port, started, wait_for

pytestmark = pytest.mark.services
PATIENCE = 600  # seconds, on a machine that does other things
MORE = {f"pet{number}": {"kind": "object", "placeholder_token": f"<pet{number}>", "initializer_token": "dog"} for number in range(2)}
Found = TypeVar("Found")
Process = AbstractContextManager[subprocess.Popen]


def waited_for(look: Callable[[], Found], what: str) -> Found:
    """Return the first true value that `look` gives."""
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < deadline, f"no {what} in {PATIENCE} s"
        time.sleep(0.5)
    return found


class Server:
    """A Prefect server, and programs that talk to it."""

    def __init__(self, home: Path) -> None:
        self.home, self.port = home, free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        code = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        self.environment = {**os.environ, "PATH": path, "PYTHONPATH": code, "PREFECT_HOME": str(home), "PREFECT_API_URL": self.url}

    def program(self, folder: Path, *arguments: str, **environment: str) -> Process:
        """Run a Python module in a folder for as long as a block lasts."""
        log = self.home / f"{'-'.join(arguments[-2:])}.log".replace("/", "-")
        return started([sys.executable, "-m", *arguments], log, cwd=folder, env=self.environment | environment)

    def run(self, folder: Path, *arguments: str) -> None:
        """Run a Python module in a folder to its end."""
        with self.program(folder, *arguments) as process:
            assert process.wait(PATIENCE) == 0, arguments


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("prefect"))
    leases = {"PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem"}
    with server.program(server.home, "prefect", "server", "start", "--port", str(server.port), **leases) as process:
        wait_for(process, lambda: answers(f"{server.url}/health"), server.home / f"--port-{server.port}.log")
        with temporary_settings({PREFECT_API_URL: server.url}):
            yield server


@pytest.fixture
def built(catalog: Path, server: Server) -> Path:
    """A catalog with nothing to do."""
    shutil.copy(ROOT / "prefect.yaml", catalog)
    edit_params(runtime={"task_runner": "threads"})
    server.run(catalog, "flows.cli.main", "build")
    return catalog


def runs_of(flow: str, state: str | None = None) -> list[FlowRun]:
    """The runs of a flow in the order of their start."""
    with get_client(sync_client=True) as client:
        flows = {one.id: one.name for one in client.read_flows()}
        found = [run for run in client.read_flow_runs(limit=200) if flows[run.flow_id] == flow and run.start_time]
    return sorted((run for run in found if state in (None, run.state.name)), key=lambda run: run.start_time)  # type: ignore[union-attr]


def told(run: FlowRun) -> dict[str, dict[str, Any]]:
    """The table of a run, by concept."""
    return {row["concept"]: row for row in rows_of(run.id)}


def test_a_schedule_builds_what_changed_and_nothing_else(built: Path, server: Server) -> None:
    before = len(runs_of("build-catalog", "Completed"))

    def finished() -> list[FlowRun]:
        return runs_of("build-catalog", "Completed")[before:]

    fox, ink = artifacts.train_record("fox").read_bytes(), artifacts.train_record("ink").read_bytes()
    with server.program(built, "flows.cli.main", "serve", "--cron", "* * * * *"):
        idle = waited_for(finished, "run of the schedule")[0]
        assert told(idle) == {"2 others": {"concept": "2 others", "skipped": "up to date"}}
        assert artifacts.train_record("fox").read_bytes() == fox
        draw_picture(artifacts.images("fox") / "3.png", 77)
        rows = told(waited_for(lambda: [run for run in finished() if "fox" in told(run)], "run that saw the picture")[0])
        assert rows["fox"]["ran"] == ", ".join(STAGES) and rows["fox"]["version"] == 2 and "ink" not in rows
        assert artifacts.train_record("ink").read_bytes() == ink
        with get_client(sync_client=True) as client:
            deployment = client.read_deployment_by_name("build-catalog/schedule")
            missed = [Scheduled(scheduled_time=datetime.now(UTC) - timedelta(minutes=minutes)) for minutes in (3, 2, 1)]
            ids = [client.create_flow_run_from_deployment(deployment.id, state=state).id for state in missed]

            def states() -> list[str]:
                return [client.read_flow_run(one).state.name for one in ids]  # type: ignore[union-attr]

            waited_for(lambda: set(states()) <= {"Completed", "Cancelled"}, "end of the missed runs")
            assert states().count("Cancelled") >= 2


def lose(worker: subprocess.Popen, run: FlowRun) -> None:
    """End a worker and the process of its run at once, as a machine does whose power fails."""
    assert run.infrastructure_pid
    for group in (worker.pid, int(run.infrastructure_pid)):
        os.killpg(group, signal.SIGKILL)


@pytest.fixture
def larger(built: Path) -> Path:
    """A catalog with two batches of two to build."""
    for number, concept in enumerate(MORE):
        artifacts.rights(concept).write_text("undeclared: drawn for this test")
        for picture in range(3):
            draw_picture(artifacts.images(concept) / f"{picture}.png", 100 * (number + 1) + picture)
    edit_params(concepts=MORE, invert={"max_train_steps": 600}, runtime={"concepts_per_task": 2})
    return built


def assert_all_built() -> None:
    """Everything of the larger catalog is trained and recorded."""
    rows = told(runs_of("build-catalog")[-1])
    assert all("invert" in rows[concept]["ran"] for concept in CONCEPTS | MORE)
    assert dvc("status").strip().endswith("up to date.")


def test_workers_share_a_build_and_one_may_be_lost(larger: Path, server: Server) -> None:
    edit_params(runtime={"task_runner": "workers"})
    before = len(runs_of("build-batch"))
    server.run(larger, "prefect", "work-pool", "create", "--type", "process", "wordmint")
    server.run(larger, "prefect", "--no-prompt", "deploy", "--all")
    worker = ("prefect", "worker", "start", "--pool", "wordmint", "--limit", "1", "--name")
    with (
        server.program(larger, *worker, "one") as one,
        server.program(larger, *worker, "two") as two,
        server.program(larger, "flows.cli.main", "build") as build,
    ):
        first = waited_for(lambda: len(found := runs_of("build-batch", "Running")) == 2 and found, "two batches at once")
        assert sorted(concept for run in first for concept in run.parameters["concepts"]) == sorted(CONCEPTS | MORE)
        at_work = {run.labels["prefect.worker.name"]: run for run in first}
        assert set(at_work) == {"one", "two"}

        def ahead() -> str | None:
            """Return a worker that has a checkpoint."""
            kept = (path.name for path in artifacts.checkpoints().glob("*.pt"))
            return next((name for file in kept for name, run in at_work.items() if file.startswith(tuple(run.parameters["concepts"]))), None)

        gone = waited_for(ahead, "checkpoint of a worker")
        left = "two" if gone == "one" else "one"
        lose({"one": one, "two": two}[gone], at_work[gone])
        assert build.wait(PATIENCE) == 0
    batches = [(run.state.name, run.labels["prefect.worker.name"], run.parameters["concepts"]) for run in runs_of("build-batch")[before:]]  # type: ignore[union-attr]
    kept, lost = at_work[left].parameters["concepts"], at_work[gone].parameters["concepts"]
    assert sorted(batches[:2]) == [("Completed", left, kept), ("Crashed", gone, lost)] and batches[2:] == [("Completed", left, lost)]
    assert_all_built()
    connection.connect(tracking_uri(load_settings()))
    assert {concept: len(reading.versions(concept)) for concept in MORE} == dict.fromkeys(MORE, 1)


def test_two_ray_workers_share_a_build(larger: Path, server: Server) -> None:
    edit_params(invert={"max_train_steps": 500}, runtime={"task_runner": "ray"})
    before = len(runs_of("build-batch"))
    server.run(larger, "flows.cli.main", "build")
    first, second = runs_of("build-batch")[before:]
    assert sorted(first.parameters["concepts"] + second.parameters["concepts"]) == sorted(CONCEPTS | MORE)
    assert first.end_time and second.start_time and second.start_time < first.end_time
    assert_all_built()


def test_a_worker_with_its_own_clone_is_taken_over(built: Path, server: Server, tmp_path: Path) -> None:
    clone, address = tmp_path / "clone", tracking_uri(load_settings())
    dvc("remote", "add", "--force", "--default", "team", str(tmp_path / "remote"))
    shutil.copytree(built, clone)
    edit_params(invert={"max_train_steps": 30}, runtime={"task_runner": "workers"})
    shutil.copy(built / "params.yaml", clone)
    (clone / "prefect.yaml").write_text((built / "prefect.yaml").read_text().replace("push: false", "push: true").replace("wordmint", "clones"))
    server.run(clone, "prefect", "work-pool", "create", "--type", "process", "clones")
    server.run(clone, "prefect", "--no-prompt", "deploy", "--all")
    with server.program(clone, "prefect", "worker", "start", "--pool", "clones", MLFLOW_TRACKING_URI=address):
        server.run(built, "flows.cli.main", "build")
    for concept in load_settings().concepts:
        assert artifacts.read_json(artifacts.train_record(concept))["optimizer_steps"] == 30
        assert artifacts.learned_embeds(concept).read_bytes() == (clone / artifacts.learned_embeds(concept)).read_bytes()
    assert "invert" not in "".join(run.name for run in task_runs_of(runs_of("build-catalog")[-1]))
    assert dvc("status").strip().endswith("up to date.")


def test_a_batch_that_cannot_be_sent_leaves_the_others_alone(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(deployment: str, parameters: dict[str, Any], **options: Any) -> SimpleNamespace:
        if "fox" in parameters["concepts"]:
            raise ConnectionError("nobody answers")
        return SimpleNamespace(id=uuid4(), name="a run", state=Completed(message="without a table"))

    @flow
    def sending() -> dict[str, str]:
        runtime = load_settings(ROOT / "params.yaml").runtime.model_copy(update={"task_runner": "workers", "concepts_per_task": 1})
        return {batch[0]: rows[0]["error"] for batch, rows in workers.built(["fox", "owl"], runtime)}

    monkeypatch.setattr(workers, "run_deployment", run)
    assert sending() == {"fox": "ConnectionError: nobody answers", "owl": "batch 'a run' ended Completed: without a table"}


def task_runs_of(run: FlowRun) -> list[TaskRun]:
    with get_client(sync_client=True) as client:
        return client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])))


def test_a_server_without_the_deployment_says_how_to_make_it(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "DEPLOYMENT", "build-batch/nobody")
    with pytest.raises(ValueError, match="no deployment build-batch/nobody; run `prefect --no-prompt deploy --all`"):
        workers.wait_for_earlier()
