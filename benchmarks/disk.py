"""What rebuilding one concept leaves on the disk: `python -m benchmarks.disk [--rebuilds N] [--json]`, megabytes before and after `wordmint prune`.

The peer of each place is its size after the first build. Pictures, embeddings and scores are made up and tiny, each rebuild has another picture, and
nothing is committed to Git, so all results but the last are replaced. DVC, MLflow and Prefect's temporary server are real.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import made_up
from benchmarks.result import Row, show
from flows.cli.main import TELEMETRY

PLACES = {"DVC's cache": ".dvc/cache/files", "run-cache": ".dvc/cache/runs", "mlruns": "mlruns", "results": "data"}


def sizes(folder: Path) -> dict[str, float]:
    """Return the megabytes of each place."""
    catalog = folder / "catalog"
    places = {name: catalog / path for name, path in PLACES.items()} | {"Prefect's folder": folder / "prefect", "temporary files": folder / "tmp"}
    found = {name: sum(path.lstat().st_size for path in place.rglob("*") if path.is_file()) / 1e6 for name, place in places.items()}
    return found | {"all": sum(found.values())}


def rebuild(subject: str) -> None:
    """Build the concept from another picture."""
    made_up.take_picture("c0", subject)
    subprocess.run([sys.executable, "-m", "benchmarks.made_up"], check=True, capture_output=True)


def main(rebuilds: Annotated[int, typer.Option(min=1)] = 10, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Measure one catalog."""
    home = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for inner in ("catalog", "prefect", "tmp"):
            (folder / inner).mkdir()
        os.environ |= TELEMETRY | {"PYTHONPATH": str(made_up.ROOT), "PREFECT_HOME": str(folder / "prefect"), "TMPDIR": str(folder / "tmp")}
        made_up.make_catalog(folder / "catalog", 1)
        rebuild("first")
        first = sizes(folder)
        for number in range(rebuilds):
            rebuild(str(number))
        grown = sizes(folder)
        subprocess.run([sys.executable, "-m", "flows.cli.main", "prune", "--results", "--hours", "0", "--yes"], check=True, capture_output=True)
        pruned = sizes(folder)
        os.chdir(home)
    stages = {f"{rebuilds} rebuilds later": grown, "pruned": pruned}
    rows = [Row(f"{place}, {when}", found[place], first[place], "MB") for when, found in stages.items() for place in first if first[place]]
    show("disk", rows, "first build", as_json)


if __name__ == "__main__":
    typer.run(main)
