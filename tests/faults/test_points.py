"""The named points: all of them are visited by the rounds, and after a kill at any of a move's points the move is completed by repeating it."""

import os
import re
import signal
import sqlite3
import traceback
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tasks import faults
from tasks.registry import lifecycle, reading
from tasks.settings import Settings
from tests.support.faults.rounds import DROPPED, OPERATIONS, SET, TOLD, faults_of
from tests.support.minted import mint, record

ROOT = Path(__file__).parents[2]
REASON = "another picture"


def points() -> list[str]:
    """The named points in the source."""
    texts = [path.read_text(encoding="utf-8") for folder in ("tasks", "flows") for path in sorted((ROOT / folder).rglob("*.py"))]
    return [name for text in texts for name in re.findall(r'^ +(?:faults\.)?point\("(.*)"\)$', text, flags=re.MULTILINE)]


def test_the_rounds_visit_every_point() -> None:
    named = points()
    assert len(set(named)) == len(named) > 15
    assert set(named) == {point for operation in OPERATIONS.values() for point in operation.points}
    first = faults_of(0, 1000, list(OPERATIONS))
    assert {(fault.operation, fault.point) for fault in first if fault.kind == "kill" and fault.visit == 1} == {
        (name, point) for name, operation in OPERATIONS.items() for point in operation.points
    }


def test_a_seed_gives_the_same_faults() -> None:
    one, again, other = (faults_of(seed, 100, list(OPERATIONS)) for seed in (1, 1, 2))
    assert one == again != other


def killed(work: Callable[[], object], fault: str) -> bool:
    """Do something in a process of its own that has a fault, and tell whether it was killed."""
    if pid := os.fork():
        status = os.waitpid(pid, 0)[1]
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
        return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    try:
        os.environ[faults.VARIABLE] = fault
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)  # past pytest's own end


def test_a_point_strikes_only_where_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    assert killed(lambda: faults.point("here"), "here=kill")
    assert not killed(lambda: faults.point("here"), "there=kill")
    monkeypatch.setenv(faults.VARIABLE, "here=full")
    faults.point("there")
    with pytest.raises(OSError, match="No space left on device"):
        faults.point("here")
    monkeypatch.setenv(faults.VARIABLE, "here=ful")
    with pytest.raises(ValueError, match="'ful'; use kill, full or sleep"):
        faults.point("here")


MOVES: dict[str, tuple[Callable[[], object], tuple[str, ...]]] = {
    "promote": (lambda: lifecycle.promote("fox", accept=REASON), (TOLD, SET, DROPPED)),
    "rollback": (lambda: lifecycle.rollback("fox"), (TOLD, SET)),
    "revoke": (lambda: lifecycle.revoke("fox", REASON), ("revocation marked", TOLD, DROPPED)),
    "reinstate": (lambda: lifecycle.reinstate("fox"), (TOLD, SET)),
}


def copy_database(source: str, target: str) -> None:
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other)


def test_a_move_that_was_killed_is_completed_by_repeating_it(settings: Settings) -> None:
    for seed in (0, 1):
        mint(seed, pictures=f"{seed}" * 64)
        record(settings)
    promoted, rolled_back = {"champion": 2, "previous": 1}, {"champion": 1, "previous": 2}
    wanted = {"promote": promoted, "rollback": rolled_back, "revoke": {}, "reinstate": rolled_back}
    for name, (move, points) in MOVES.items():
        copy_database("mlruns/mlflow.db", "before.db")
        for point in points:
            copy_database("before.db", "mlruns/mlflow.db")
            assert killed(move, f"{point}=kill"), f"{name} does not pass {point!r}"
            assert name in ("revoke", "reinstate") or reading.published("fox")[0].exists()
            if reading.aliases("fox") != wanted[name] or bool(reading.revocation("fox")) != (name == "revoke"):
                with suppress(ValueError):  # it is done already
                    move()
            assert reading.aliases("fox") == wanted[name], f"{name} after a kill at {point!r}"
            assert bool(reading.revocation("fox")) == (name == "revoke")
