"""Twenty people look at the app while one decides."""

import math
from pathlib import Path

import pytest

from benchmarks.readers import Move, lateness, measured, violations


@pytest.mark.parametrize(
    ("champion", "asked", "told", "late"),
    [
        (1, 5.0, 5.1, 0.0),
        (1, 10.5, 10.6, 0.0),  # while the move is made both are right
        (2, 9.0, 10.6, 0.0),
        (1, 14.0, 14.1, 3.0),
        (2, 5.0, 5.1, math.inf),  # it was no champion yet
        (1, 25.0, 25.1, 0.0),
        (2, 25.0, 25.1, 4.0),
    ],
)
def test_how_late_a_page_is(champion: int, asked: float, told: float, late: float) -> None:
    moves = [Move(-math.inf, -math.inf, 1), Move(10.0, 11.0, 2), Move(20.0, 21.0, 1)]
    assert lateness(champion, asked, told, moves) == pytest.approx(late)


@pytest.mark.services
def test_no_reader_meets_an_error_or_a_champion_of_long_ago(tmp_path: Path) -> None:
    answers, moves = measured(tmp_path, readers=20, seconds=10, seed=0)
    assert {one.page for one in answers} == {"gallery", "concept"} and sum(map(len, moves.values())) > len(moves)
    assert not violations(answers, moves)
