"""Many writers and readers of one registry: `python -m benchmarks.load [--processes N] [--seconds S] [--seed N]`, against SQLite and a server.

Each process has a clone of its own of ten made-up concepts. It registers, promotes, rolls back and reads them at random. A violation is a read of a
champion that fails or did not pass the gate, a history whose decisions do not follow each other, an alias that is not what the history says, a
registered word that is gone, or an error that is not a refusal. The exit code is 1 if there is any.
"""

import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import made_up
from tasks import artifacts
from tasks.register import register
from tasks.registry import connection, lifecycle, reading
from tasks.settings import Settings, load_settings

CONCEPTS = [f"c{n}" for n in range(10)]
DEEDS = ("register", "promote", "rollback", "read")
PASSED = ("first", "better", "accepted")  # verdicts of the gate
Tally = dict[str, list[str]]
"""What was done -> what was wrong with it, "" for nothing."""


def make_clone(folder: Path) -> Settings:
    """Write a catalog whose stages before register have run; it becomes the working directory."""
    folder.mkdir()
    made_up.declare(folder, CONCEPTS)
    for concept in CONCEPTS:
        made_up.take_picture(concept, concept)
        made_up.write_pointer(artifacts.images(concept))
        made_up.leave_curated(concept)
    return load_settings()


def register_one(concept: str, seed: int, value: float, settings: Settings) -> None:
    """Register a word of its own."""
    made_up.leave_learned(concept, seed)
    made_up.leave_samples(concept)
    made_up.leave_scores(concept, value)
    register.fn(concept, settings)


def read_champion(concept: str) -> None:
    """Read a champion as a user does.

    Raises:
        AssertionError: it did not pass the gate.
    """
    path, tags = reading.published(concept)
    assert path.stat().st_size and tags["decision"] in PASSED, f"v{tags} is champion and did not pass"


def work(folder: Path, uri: str, number: int, seconds: float, seed: int, results: Any) -> None:
    """Do one thing after the other until the time is over, and put the tally into a queue."""
    settings, choice, done = make_clone(folder), random.Random(f"{seed} {number}"), dict[str, list[str]]()
    connection.connect(uri)
    deadline, count = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        concept, count = choice.choice(CONCEPTS), count + 1
        (deed,) = choice.choices(DEEDS, [2, 3, 2, 5])
        wrong = ""
        try:
            match deed:
                case "register":
                    register_one(concept, 1 + number + 1000 * count, round(choice.uniform(0.3, 0.9), 3), settings)
                case "promote":
                    lifecycle.promote(concept)
                case "rollback":
                    lifecycle.rollback(concept)
                case "read":
                    read_champion(concept)
        except ValueError as error:  # a refusal, such as to promote without a challenger; nobody may be refused a champion or a registration
            wrong = f"{deed} {concept}: {error}" if deed in ("read", "register") else ""
        except Exception as error:
            wrong = f"{deed} {concept}: {type(error).__name__}: {error}"
        done.setdefault(deed, []).append(wrong)
    results.put(done)


def wrong_histories(registered: int) -> list[str]:
    """Return what is wrong with the registry when all have finished."""
    wrong, versions = [], 0
    for concept in CONCEPTS:
        champion = None
        for event in reading.events(concept):
            if event["event"] in ("promote", "rollback"):
                if champion is not None and event["against"] != champion:
                    wrong.append(f"{concept}: {event['event']} of v{event['version']} against v{event['against']}, but v{champion} was champion")
                champion = event["version"]
        if champion is not None and reading.aliases(concept)["champion"] != champion:
            wrong.append(f"{concept}: v{reading.aliases(concept)['champion']} is champion, and the history ends with v{champion}")
        for version in reading.described(concept):
            reading.fetch(concept, version["version"])
            versions += 1
    return wrong + ([f"{registered} words were registered, and {versions} are there"] if versions != registered else [])


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Run an MLflow server with SQLite on a free port, and give its address."""
    from tests.support.services import free_port

    port = free_port()
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--port",
        str(port),
        "--workers",
        "1",
        "--backend-store-uri",
        f"sqlite:///{folder}/server.db",
    ]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen([*command, "--artifacts-destination", str(folder / "kept")], stdout=log, stderr=log, start_new_session=True)
        try:
            while not answers(f"http://127.0.0.1:{port}/health"):
                time.sleep(0.5)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, 15)
            process.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return response.status == 200
    except OSError:
        return False


def loaded(uri: str, folder: Path, processes: int, seconds: float, seed: int) -> Tally:
    """Register a champion of each concept, let all processes work, and return what they did and what is wrong with the registry then."""
    settings = make_clone(folder / "first")
    connection.connect(uri)
    for concept in CONCEPTS:
        register_one(concept, 0, 0.5, settings)
    spawning = multiprocessing.get_context("spawn")
    results = spawning.Queue()
    workers = [spawning.Process(target=work, args=(folder / str(number), uri, number, seconds, seed, results)) for number in range(processes)]
    for worker in workers:
        worker.start()
    done = dict[str, list[str]]()
    for tally in [results.get() for _ in workers]:
        for deed, outcomes in tally.items():
            done.setdefault(deed, []).extend(outcomes)
    for worker in workers:
        worker.join()
    return done | {"the registry afterwards": wrong_histories(len(CONCEPTS) + done.get("register", []).count(""))}


def main(
    processes: Annotated[int, typer.Option(min=1)] = 10,
    seconds: Annotated[float, typer.Option(help="of work on each registry")] = 60,
    seed: int = 0,
) -> None:
    """Load a SQLite database and a server, and count violations."""
    table, found = Table("registry", "what", "times", "violations", title=f"load, {processes} processes, {seconds:.0f} s, seed {seed}"), []
    os.environ["PYTHONPATH"] = str(made_up.ROOT)
    for name in ("SQLite", "server"):
        with tempfile.TemporaryDirectory() as parent, ExitStack() as stack:
            folder = Path(parent)
            uri = f"sqlite:///{folder}/mlflow.db" if name == "SQLite" else stack.enter_context(server(folder))
            stack.callback(os.chdir, Path.cwd())
            for deed, outcomes in loaded(uri, folder, processes, seconds, seed).items():
                wrong = [outcome for outcome in outcomes if outcome]
                table.add_row(name, deed, str(len(outcomes)) if deed in DEEDS else "", str(len(wrong)))
                found += [f"{name}: {outcome}" for outcome in wrong]
    Console().print(table)
    for line in found[:20]:
        print(line)
    raise typer.Exit(bool(found))


if __name__ == "__main__":
    typer.run(main)
