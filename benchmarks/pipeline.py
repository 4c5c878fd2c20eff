"""What the flow adds to its stages: `python -m benchmarks.pipeline [COUNT...] [--json]`, after `make catalog`.

A catalog of COUNT concepts with tiny settings is built by `wordmint build`, including the interpreter's start, Prefect, DVC and MLflow. The peer
computes the same catalog with the stages' bare functions in this process, which has imported everything. Registering is not a computation,
so it counts as added.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
import yaml

from benchmarks.made_up import ROOT
from benchmarks.result import Row, show
from tasks import artifacts
from tasks.curate import curate
from tasks.invert import invert
from tasks.sample import sample
from tasks.score import score
from tasks.settings import load_settings

TINY = {
    "invert": {"method": "norm_held", "options": {}, "max_train_steps": 10},
    "sample": {"num_inference_steps": 5, "pictures_per_prompt": 2},
    "score": {"bootstrap_samples": 100},
}
ADDED_SHARE, ADDED_SECONDS = 1.10, 15.0  # what the flow may add


def make_catalog(folder: Path, count: int) -> None:
    """Write a catalog of `count` unbuilt concepts in `folder`, with the shipped pictures in turn; it becomes the working directory."""
    os.chdir(folder)
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for section, changes in TINY.items():
        params[section] |= changes
    shipped, params["concepts"] = [params["concepts"][name] | {"pictures": name} for name in params["concepts"]], {}
    for number in range(count):
        entry, name = dict(shipped[number % len(shipped)]), f"c{number}"
        pictures = entry.pop("pictures")
        shutil.copytree(ROOT / artifacts.images(pictures), artifacts.images(name))
        shutil.copy(ROOT / artifacts.rights(pictures), artifacts.rights(name))
        params["concepts"][name] = entry | {"placeholder_token": f"<{name}>"}
    Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    shutil.copy(ROOT / "dvc.yaml", "dvc.yaml")
    shutil.copytree(ROOT / "tasks", "tasks", ignore=shutil.ignore_patterns("__pycache__"))
    Path("data/base").symlink_to(ROOT / "data/base")
    Path("mlruns").mkdir()
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, check=True)


def compute() -> float:
    """Return the seconds that the stages' functions take for the catalog in the working directory, one after the other in this process."""
    settings, started = load_settings(), time.monotonic()
    for concept in settings.concepts:
        curate.fn(concept, settings)
    invert.fn(list(settings.concepts), settings)
    for concept in settings.concepts:
        sample.fn(concept, settings)
        score.fn(concept, settings)
    return time.monotonic() - started


def build() -> float:
    """Return the seconds of `wordmint build` in the working directory."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "flows.cli.main", "build"], check=True, capture_output=True)
    return time.monotonic() - started


def main(
    counts: Annotated[list[int] | None, typer.Argument(help="concepts of a catalog")] = None, as_json: Annotated[bool, typer.Option("--json")] = False
) -> None:
    """Measure whole builds."""
    rows, home, costs = [], Path.cwd(), {}
    for count in counts or [2, 10, 50]:
        with tempfile.TemporaryDirectory() as ours, tempfile.TemporaryDirectory() as bare:
            make_catalog(Path(ours), count)
            wall = build()
            make_catalog(Path(bare), count)
            peer = compute()
            os.chdir(home)
        costs[count] = wall / count
        rows.append(Row(f"{count} concepts, wall against compute", wall, peer, "s"))
        rows.append(
            Row(f"{count} concepts, wall against {ADDED_SHARE:.2f} x compute + {ADDED_SECONDS:.0f} s", wall, ADDED_SHARE * peer + ADDED_SECONDS, "s")
        )
    fewest = next(iter(costs))
    least = costs[fewest]
    rows += [Row(f"a concept among {count}, against one among {fewest}", cost, least, "s") for count, cost in costs.items() if count != fewest]
    show("pipeline", rows, "compute", as_json)


if __name__ == "__main__":
    typer.run(main)
