"""What publishing a version costs: `python -m benchmarks.registering [COUNT] [--server] [--json]`, milliseconds a concept.

COUNT made-up concepts are registered one after the other, each with a first version. The peer is MLflow's own `log_model`, which registers the same
files under other names, without what wordmint adds. What the first of each pays for imports is not counted. With --server, the registry is a server.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import mlflow
import psutil
import typer

from benchmarks import made_up
from benchmarks.result import Row, show
from flows.cli.main import TELEMETRY
from tasks import artifacts
from tasks.register import register
from tasks.registry import connection, publishing
from tasks.registry.database import create_database
from tasks.settings import Settings, load_settings
from tests.support.services import mlflow_server


@contextmanager
def catalog(count: int) -> Iterator[Settings]:
    """Make a temporary catalog of so many concepts, which only have to be registered, the working directory; give its settings."""
    home = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        made_up.declare(Path(folder), concepts := [f"c{n}" for n in range(count)])
        for concept in concepts:
            made_up.take_picture(concept, concept)
            made_up.write_pointer(Path("data/images") / concept)
            for leave in (made_up.leave_curated, made_up.leave_learned, made_up.leave_samples, made_up.leave_scores):
                leave(concept)
        try:
            yield load_settings()
        finally:
            os.chdir(home)


def spent(server: psutil.Process | None) -> tuple[float, float, float]:
    """Return the CPU seconds of this process with those it started, the CPU seconds of the server, and the seconds of the clock."""
    used = os.times()
    its = server.cpu_times() if server else None
    return used.user + used.system + used.children_user + used.children_system, its.user + its.system if its else 0.0, time.monotonic()


def seconds_of(work: Callable[[str], object], count: int, server: psutil.Process | None) -> list[float]:
    """Do something for every concept and return the seconds that each one but the first took on average, as `spent` counts them."""
    work("c0")
    before = spent(server)
    for number in range(1, count):
        work(f"c{number}")
    return [(after - at) / (count - 1) for after, at in zip(spent(server), before, strict=True)]


def log_model(concept: str) -> None:
    """Publish a concept as MLflow's guide does."""
    embedding, train = artifacts.learned_embeds(concept), artifacts.read_json(artifacts.train_record(concept))
    with mlflow.start_run(experiment_id=connection.experiment_id(mlflow.MlflowClient())):
        mlflow.log_params(train["settings"])
        mlflow.log_metrics({"norm": train["norm"]})
        mlflow.pyfunc.log_model(
            name="peer",
            python_model=str(Path(publishing.__file__).with_name("registered_model.py")),
            artifacts={embedding.stem: str(embedding)},
            model_config={"base_model": train["base"]["model"], "placeholder_token": f"<{concept}>"},
            pip_requirements=["mlflow", "torch", "diffusers", "transformers", "safetensors"],
            registered_model_name=f"peer.{concept}",
        )


def rows(settings: Settings, count: int, server: psutil.Process | None) -> list[Row]:
    connection.connect(connection.tracking_uri(settings))
    ours = seconds_of(lambda concept: register.fn(concept, settings), count, server)
    peer = seconds_of(log_model, count, server)
    cases = ("CPU of the process", "CPU of the server", "the clock")
    return [Row(case, 1000 * one, 1000 * other, "ms") for case, one, other in zip(cases, ours, peer, strict=True) if other]


def main(
    count: Annotated[int, typer.Argument(help="concepts", min=2)] = 21,
    server: Annotated[bool, typer.Option(help="register in MLflow's server in place of a SQLite file")] = False,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Measure the registration of a concept."""
    os.environ |= TELEMETRY
    with catalog(count) as settings:
        if server:
            create_database(database := Path("server.db").absolute())
            with mlflow_server(database, Path("server.log"), "--artifacts-destination", "artifacts") as (process, address):
                os.environ["MLFLOW_TRACKING_URI"] = address
                measured = rows(settings, count, psutil.Process(process.pid).children(recursive=True)[-1])
        else:
            measured = rows(settings, count, None)
    show("registering", measured, "mlflow", as_json)


if __name__ == "__main__":
    typer.run(main)
