"""What a catalog costs as it grows: `python -m benchmarks.growth [COUNT...] [--json] [--plot FILE]`, CPU seconds and memory among COUNT concepts.

The peer of a catalog is the first one, the smallest; a ratio of 1 is a cost that does not grow. Pictures, embeddings and scores are made up, so
the figures are bookkeeping alone. `a new concept` is what each of 16 new ones adds to a build: DVC, Prefect, the journal and MLflow.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
import yaml

from benchmarks import made_up
from benchmarks.result import Row, show
from flows.cli.main import TELEMETRY
from tasks.pipeline.graph import edition

NEW = 16  # concepts, as many as a batch has
Costs = dict[str, tuple[float, float]]
"""What is done -> CPU seconds and MB."""


def measured(*command: str) -> tuple[float, float]:
    """Run a Python module with arguments and return the CPU seconds of its processes and the most memory of its own, in MB."""
    memory, ended = 0, 0
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen([sys.executable, "-m", *command], stdout=output, stderr=subprocess.STDOUT)
        while not ended:
            peak = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
            memory = int(peak[1]) if peak else memory  # at its end it has none any more
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            time.sleep(0.05)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise RuntimeError(f"{' '.join(command)} failed: {output.read().decode(errors='replace')[-2000:]}")
    return usage.ru_utime + usage.ru_stime, memory / 1024


def add_concepts(count: int) -> None:
    """Declare `count` more concepts and take their pictures."""
    params = yaml.load(Path("params.yaml").read_text(encoding="utf-8"), yaml.CSafeLoader)
    for concept in (f"new{n}" for n in range(count)):
        params["concepts"][concept] = made_up.declaration(concept)
        made_up.take_picture(concept, concept)
    Path("params.yaml").write_text(yaml.dump(params, Dumper=yaml.CSafeDumper, sort_keys=False), encoding="utf-8")


def grown(count: int, folder: Path) -> Costs:
    """Return seconds and megabytes by what is done in a catalog of `count` concepts."""
    made_up.make_catalog(folder / "catalog", count)
    (folder / "remote").mkdir()
    for command in (["remote", "add", "--default", "team", str(folder / "remote")], ["config", "core.autostage", "false"]):
        subprocess.run([sys.executable, "-m", "dvc", *command], check=True, capture_output=True)
    costs = {"first build on a machine": measured("benchmarks.made_up")}
    costs["nothing to do"] = measured("flows.cli.main", "build")
    costs["status"], costs["list"] = measured("flows.cli.main", "status"), measured("flows.cli.main", "list")
    costs["the start of a build"] = measured("benchmarks.made_up", "start")
    made_up.take_picture("c0", "another")
    costs["one changed picture"] = measured("benchmarks.made_up")
    add_concepts(NEW)
    seconds, memory = measured("benchmarks.made_up")
    costs["a new concept"] = (seconds - costs["one changed picture"][0]) / (NEW - 1), memory
    costs["the report's index"] = measured("tasks.report", "--edition", str(edition("report")))
    measured("flows.cli.main", "push")
    costs["push with nothing new"] = measured("flows.cli.main", "push")
    clone(folder / "clone")
    costs["pull of everything"] = measured("flows.cli.main", "pull")
    costs["pull with nothing new"] = measured("flows.cli.main", "pull")
    return costs


def clone(folder: Path) -> None:
    """Commit the catalog and clone it to a folder, which becomes the working directory and has no data yet."""
    author = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
    for command in (["add", "--all"], [*author, "commit", "--quiet", "--message", "a catalog"], ["clone", "--quiet", ".", str(folder)]):
        subprocess.run(["git", *command], check=True)
    os.chdir(folder)


def main(
    counts: Annotated[list[int] | None, typer.Argument(help="concepts of a catalog")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
    plot: Annotated[Path | None, typer.Option(help="an SVG file to write")] = None,
) -> None:
    """Measure catalogs of growing size."""
    home, results = Path.cwd(), dict[int, Costs]()
    os.environ |= TELEMETRY | {"PYTHONPATH": str(made_up.ROOT), "PREFECT_LOGGING_LEVEL": "WARNING"}
    for count in counts or [10, 100, 1000]:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "catalog").mkdir()
            results[count] = grown(count, Path(folder))
            os.chdir(home)
    if plot:
        draw(results, plot)
    first = results[min(results)]
    rows = [
        Row(f"{count} concepts: {what}", number, peer, unit)
        for count, costs in results.items()
        for what, numbers in costs.items()
        for number, peer, unit in zip(numbers, first[what], ("CPU s", "MB"), strict=True)
    ]
    show("growth", rows, f"{min(results)} concepts", as_json)


def draw(results: Mapping[int, Costs], path: Path) -> None:
    """Draw seconds and memory over the number of concepts, both on logarithmic axes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    counts = sorted(results)
    for panel, title, part in zip(panels, ("CPU seconds", "memory of the process, MB"), (0, 1), strict=True):
        for number, what in enumerate(results[counts[0]]):
            # matplotlib repeats its colours after ten
            panel.loglog(counts, [results[count][what][part] for count in counts], marker="os"[number // 10 % 2], color=f"C{number % 10}", label=what)
        panel.set(title=title, xlabel="concepts in the catalog")
        panel.grid(alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    figure.savefig(path)


if __name__ == "__main__":
    typer.run(main)
