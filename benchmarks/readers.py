"""Many people look at the app while one decides: `python -m benchmarks.readers [--readers N] [--seconds S] [--seed N]`.

The app is a process of its own, on ten made-up concepts of two versions. The readers ask for the gallery and for pages of concepts, and the writer
promotes and rolls back. Violations are an answer that is no page, and one that shows a champion which had been replaced for more than two seconds
when the page was asked for. The exit code is 1 if there is one.
"""

import http.client
import math
import os
import random
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.load import CONCEPTS, make_clone, register_word
from tasks.registry import connection, lifecycle, reading
from tasks.versions.records import in_registry
from tests.support.app import running_app

LATE = 2  # s
CARD = re.compile(r'data-key="(\w+)".*?, v(\d+) ([\w ]*)<', re.DOTALL)
ROW = re.compile(r"<tr><td>v(\d+)</td>(?:(?!</tr>).)*>champion<", re.DOTALL)


class Move(NamedTuple):
    """A version that became champion."""

    begun: float
    ended: float
    champion: int


class Answer(NamedTuple):
    """What a reader was shown."""

    page: str
    asked: float
    told: float
    champions: dict[str, int]
    """Concept -> the version that the page calls champion."""
    wrong: str


def shown(path: str, text: str) -> dict[str, int]:
    """Return concept -> its champion by a page. The gallery shows v2 of each; where that is not champion, v1 is."""
    if path == "/":
        return {key: int(version) if "champion" in aliases else 1 for key, version, aliases in CARD.findall(text)}
    return {path.rpartition("/")[2]: int(version) for version in ROW.findall(text)}


def read(address: str, number: int, deadline: float) -> list[Answer]:
    """Ask for one page after the other until the time is over."""
    choice, answers = random.Random(number), []
    connected = http.client.HTTPConnection(urlsplit(address).netloc, timeout=120)
    while (asked := time.monotonic()) < deadline:
        path = choice.choice(["/", f"/concepts/{choice.choice(CONCEPTS)}"])
        try:
            connected.request("GET", path)
            answer = connected.getresponse()
            text = answer.read().decode()
            champions = shown(path, text)
            wrong = "" if answer.status == 200 and champions else f"{path} answered {answer.status}: {text[-300:]}"
        except (OSError, http.client.HTTPException) as error:
            connected.close()
            champions, wrong = {}, f"{path}: {error!r}"
        answers.append(Answer("gallery" if path == "/" else "concept", asked, time.monotonic(), champions, wrong))
    return answers


def decide(deadline: float, seed: int) -> dict[str, list[Move]]:
    """Promote and roll back until the time is over, and return the champions of each concept in order."""
    choice = random.Random(seed)
    moves = {concept: [Move(-math.inf, -math.inf, reading.aliases(concept)["champion"])] for concept in CONCEPTS}
    while (begun := time.monotonic()) < deadline:
        concept = choice.choice(CONCEPTS)
        champion = moves[concept][-1].champion
        with in_registry(concept):
            if champion == 1:
                lifecycle.promote(concept, 2, "for this test")
            else:
                lifecycle.rollback(concept)
        moves[concept].append(Move(begun, time.monotonic(), 3 - champion))
    return moves


def lateness(champion: int, asked: float, told: float, moves: Sequence[Move]) -> float:
    """Return for how many seconds a champion had been replaced when a page that shows it was asked for; 0 for the present one."""
    late = math.inf
    for move, following in zip(moves, [*moves[1:], Move(math.inf, math.inf, 0)], strict=True):
        if move.champion == champion and move.begun <= told:
            late = max(0.0, asked - following.ended)
    return late


def latest(answer: Answer, moves: Mapping[str, Sequence[Move]]) -> float:
    return max((lateness(champion, answer.asked, answer.told, moves[key]) for key, champion in answer.champions.items()), default=0.0)


def measured(folder: Path, readers: int, seconds: float, seed: int) -> tuple[list[Answer], dict[str, list[Move]]]:
    """Let readers read and a writer decide in a new catalog; return what was shown and what was decided."""
    home = Path.cwd()
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    try:
        make_clone(folder / "catalog")
        connection.connect(connection.tracking_address(None))
        for concept in CONCEPTS:
            register_word(concept, 1, 0.5)
            register_word(concept, 2, 0.7)
        with running_app(folder / "app.log") as (_, address), ThreadPoolExecutor(readers) as pool:
            deadline = time.monotonic() + seconds
            asked = [pool.submit(read, address, seed + number, deadline) for number in range(readers)]
            moves = decide(deadline, seed)
            return [answer for reader in asked for answer in reader.result()], moves
    finally:
        os.chdir(home)
        del os.environ["MLFLOW_TRACKING_URI"]


def violations(answers: Sequence[Answer], moves: Mapping[str, Sequence[Move]]) -> list[str]:
    late = [f"the {one.page} was {latest(one, moves):.1f} s late: {one.champions}" for one in answers if latest(one, moves) > LATE]
    return [one.wrong for one in answers if one.wrong] + late


def main(readers: Annotated[int, typer.Option(min=1)] = 20, seconds: float = 60, seed: int = 0) -> None:
    """Read and decide, and count violations."""
    with tempfile.TemporaryDirectory() as folder:
        answers, moves = measured(Path(folder), readers, seconds, seed)
    decisions = sum(len(made) - 1 for made in moves.values())
    table = Table(
        "page", "answers", "median s", "95 % s", "latest s", title=f"{readers} readers, {seconds:.0f} s, {decisions} decisions, seed {seed}"
    )
    for page in ("gallery", "concept"):
        mine = [one for one in answers if one.page == page]
        took = sorted(one.told - one.asked for one in mine)
        median, most = (f"{took[int(share * len(took))]:.2f}" for share in (0.5, 0.95))
        table.add_row(page, str(len(mine)), median, most, f"{max(latest(one, moves) for one in mine):.2f}")
    Console().print(table)
    wrong = violations(answers, moves)
    for line in wrong[:20]:
        print(line)
    raise typer.Exit(bool(wrong))


if __name__ == "__main__":
    typer.run(main)
