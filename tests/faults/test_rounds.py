"""A few rounds of the benchmark, with a Prefect server of its own."""

import json
import subprocess
import sys

import pytest

from tests.support.catalogs import ROOT


@pytest.mark.services
def test_nothing_is_violated() -> None:
    command = [sys.executable, "-m", "benchmarks.faults", "--seed", "1", "--rounds", "8", "--operations", "add,push", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert sum(row["peer"] for row in rows) == 8 and {row["ours"] for row in rows} == {0}
