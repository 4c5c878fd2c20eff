"""Two builds and a `dvc repro` of one clone at once, and what they leave."""

import json
from pathlib import Path

import pytest

from tests.support.faults.house import house
from tests.support.faults.rounds import LOOK
from tests.support.faults.states import make_states


@pytest.mark.services
@pytest.mark.parametrize("other", [("wordmint", "build"), ("dvc", "repro")])
def test_what_runs_beside_a_build_waits_or_is_named_and_the_next_build_ends_whole(tmp_path: Path, other: tuple[str, str]) -> None:
    with house(tmp_path, flows=True) as place:
        make_states(place, {"new"})
        place.take("new")
        running = [place.start("wordmint", "build"), place.start(*other)]
        (code, said), (other_code, other_said) = (process.wait() for process in running)
        assert code == 0 or (other[0] == "dvc" and code == 1 and "blocked by" in said and "Traceback" not in said), said
        assert other_code == 0 or other[0] == "dvc", other_said
        place.succeed("wordmint", "build")
        found = json.loads(place.succeed(*LOOK, "0").splitlines()[-1])
        assert found["violations"] == [] and found["standing"]["stale"] == []
