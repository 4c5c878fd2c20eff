"""Many writers and readers of one registry: `python -m benchmarks.load [--processes N] [--seconds S] [--seed N]`, on SQLite and on a server.

Each process has a clone of its own of ten made-up concepts, and registers, promotes, rolls back and reads them at random. Violations are a read of
a champion that fails or has not passed the gate, a lost registration, an alias or a line of the history that does not follow from the one before,
and any error that is not a refusal. The exit code is 1 if there is one.
"""

import multiprocessing
import os
import random
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import made_up
from tasks import artifacts
from tasks.register import register
from tasks.registry import connection, lifecycle, reading
from tasks.settings import load_settings
from tests.support.services import mlflow_server

CONCEPTS = [f"c{n}" for n in range(10)]
DEEDS = {"register": 2, "promote": 3, "rollback": 2, "read": 5}
"""What a process does, and how often."""
MOVES: dict[str, Callable[[str], object]] = {"promote": lifecycle.promote, "rollback": lifecycle.rollback}
PASSED = ("first", "better", "accepted")  # the verdicts of the gate that make a champion
Tally = dict[str, list[str]]
"""What was done -> what was wrong each time, "" for nothing."""


def make_clone(folder: Path) -> None:
    """Write a catalog whose stages before register have run."""
    folder.mkdir()
    made_up.declare(folder, CONCEPTS)
    for concept in CONCEPTS:
        made_up.take_picture(concept, concept)
        made_up.write_pointer(artifacts.images(concept))
        made_up.leave_curated(concept)


def register_word(concept: str, seed: int, value: float) -> None:
    """Register a word that no other call registers, with made-up scores."""
    made_up.leave_learned(concept, seed)
    made_up.leave_samples(concept)
    made_up.leave_scores(concept, value)
    register.fn(concept, load_settings())


def read_champion(concept: str) -> None:
    """Read a champion as a user of the word does.

    Raises:
        ValueError: it has not passed the gate, or has no bytes.
    """
    path, tags = reading.published(concept)
    if tags["decision"] not in PASSED or not path.stat().st_size:
        raise ValueError(f"the champion's decision is {tags['decision']!r}, and it has {path.stat().st_size} bytes")


def first_champions(folder: Path) -> None:
    os.chdir(folder)
    for concept in CONCEPTS:
        register_word(concept, 0, 0.5)


def work(folder: Path, number: int, seconds: float, seed: int, results: Any) -> None:
    """Do one deed after the other until the time is over, and put the tally into a queue."""
    os.chdir(folder)
    connection.connect(connection.tracking_address(None))
    choice, done, deadline, count = random.Random(f"{seed} {number}"), defaultdict[str, list[str]](list), time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        concept, deed, count = choice.choice(CONCEPTS), choice.choices(list(DEEDS), list(DEEDS.values()))[0], count + 1
        wrong = ""
        try:
            if deed == "register":
                register_word(concept, 1000 * count + number + 1, round(choice.uniform(0.3, 0.9), 3))
            elif deed == "read":
                read_champion(concept)
            else:
                MOVES[deed](concept)
        except Exception as error:
            refused = isinstance(error, ValueError) and deed in MOVES  # there is no challenger, or no previous champion
            wrong = "" if refused else f"{deed} {concept}: {error!r}"
        done[deed].append(wrong)
    results.put(dict(done))


def wrong_histories(registered: int) -> list[str]:
    """Return what is wrong with a registry in which so many words were registered."""
    connection.connect(connection.tracking_address(None))
    wrong, versions = [], 0
    for concept in CONCEPTS:
        champion = 1
        for event in reading.events(concept):
            if event["event"] in ("promote", "rollback"):
                if event["against"] != champion:
                    wrong.append(f"{concept}: {event['event']} of v{event['version']} against v{event['against']}, where v{champion} was champion")
                champion = event["version"]
        if reading.aliases(concept)["champion"] != champion:
            wrong.append(f"{concept}: v{reading.aliases(concept)['champion']} is champion, and the history ends with v{champion}")
        for version in reading.described(concept):
            reading.fetch(concept, version["version"])
            versions += 1
    return wrong + ([f"{registered} words were registered, and {versions} are there"] if versions != registered else [])


def judge(folder: Path, registered: int, results: Any) -> None:
    os.chdir(folder)
    results.put({"the registry afterwards": wrong_histories(registered)})


@contextmanager
def database(folder: Path) -> Iterator[str]:
    yield f"sqlite:///{folder}/mlflow.db"


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Run an MLflow server with a database and artifacts of its own, and give its address."""
    with mlflow_server(folder / "mlflow.db", folder / "server.log", "--artifacts-destination", str(folder / "kept")) as (_, address):
        yield address


def loaded(folder: Path, processes: int, seconds: float, seed: int) -> Tally:
    """Register a champion of each concept, let all processes work, and return what they did and what is wrong with the registry then."""
    forking, done = multiprocessing.get_context("fork"), defaultdict[str, list[str]](list)
    clones, results = [folder / f"clone {number}" for number in range(processes)], forking.Queue()

    def run(tasks: Sequence[tuple[Callable[..., None], tuple[Any, ...]]]) -> None:
        """Run each call in a process of its own: MLflow's connections cannot be inherited. A process that dies is a violation."""
        children = [forking.Process(target=call, args=arguments) for call, arguments in tasks]
        for child in children:
            child.start()
        for child, (call, _) in zip(children, tasks, strict=True):
            if call is not first_champions:
                for deed, outcomes in results.get(timeout=seconds + 300).items():
                    done[deed] += outcomes
            child.join()
            if child.exitcode:
                done["a process"].append(f"{call.__name__} ended with {child.exitcode}")

    home = Path.cwd()
    make_clone(clones[0])
    os.chdir(home)
    for clone in clones[1:]:
        shutil.copytree(clones[0], clone)
    run([(first_champions, (clones[0],))])
    run([(work, (clone, number, seconds, seed, results)) for number, clone in enumerate(clones)])
    run([(judge, (clones[0], len(CONCEPTS) + done["register"].count(""), results))])
    return done


def main(
    processes: Annotated[int, typer.Option(min=1)] = 10,
    seconds: Annotated[float, typer.Option(help="of work on each registry")] = 60,
    seed: int = 0,
) -> None:
    """Work on a SQLite database and on a server, and count violations."""
    table, found = Table("registry", "what", "times", "violations", title=f"load, {processes} processes, {seconds:.0f} s, seed {seed}"), []
    for name, registry in {"SQLite": database, "server": server}.items():
        with tempfile.TemporaryDirectory() as folder, registry(Path(folder)) as uri:
            os.environ["MLFLOW_TRACKING_URI"] = uri
            for deed, outcomes in loaded(Path(folder), processes, seconds, seed).items():
                wrong = [outcome for outcome in outcomes if outcome]
                table.add_row(name, deed, str(len(outcomes)) if deed in DEEDS else "", str(len(wrong)))
                found += [f"{name}: {outcome}" for outcome in wrong]
    Console().print(table)
    for line in found[:20]:
        print(line)
    raise typer.Exit(bool(found))


if __name__ == "__main__":
    typer.run(main)
