"""Breaking a catalog on purpose: `python -m benchmarks.faults [--seed N] [--rounds M] [--json]`, violations of what must hold whatever happens.

Each round breaks one operation in a fresh copy of a tiny catalog, completes it, and compares the catalog with one that nothing disturbed. The first
rounds kill every operation at each of its named points. The seed decides the rest. The exit code is 1 if anything was violated.
"""

import random
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.result import Row, show
from tests.support.faults.house import house
from tests.support.faults.rounds import OPERATIONS, Rounds, faults_of


def main(
    seed: Annotated[int | None, typer.Option(help="decides the faults; drawn and printed by default")] = None,
    rounds: Annotated[int, typer.Option(min=1)] = 200,
    operations: Annotated[str, typer.Option(help="separated by commas")] = ",".join(OPERATIONS),
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Break, complete and compare."""
    seed, progress = random.randrange(1_000_000) if seed is None else seed, Console(stderr=True, soft_wrap=True)
    names, found = operations.split(","), defaultdict[str, list[int]](list)
    progress.print(f"seed {seed}")
    memory = Path("/dev/shm")  # a disk would spend most of the time on fsync
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder, house(Path(folder), flows=True) as place:
        broken = Rounds(place)
        if not place.mounts:
            progress.print("this process may not mount: no disk is full, no folder read-only")
        broken.prepare(set(names))
        for number, fault in enumerate(faults_of(seed, rounds, names, place.mounts), start=1):
            try:
                violations = broken.round(fault)
            except Exception as error:  # what hangs or cannot even be looked at
                violations = [repr(error)]
            found[fault.title].append(len(violations))
            for line in [f"{number} of {rounds}  {fault}", *(f"    {violation}" for violation in violations)]:
                progress.print(line, markup=False, highlight=False)
    total = sum(map(sum, found.values()))
    if as_json:
        show("faults", [Row(title, sum(counts), len(counts), "violations") for title, counts in sorted(found.items())], "rounds", as_json)
    else:
        table = Table("fault", "rounds", "violations", title=f"faults, seed {seed}", title_justify="left")
        for title, counts in sorted(found.items()):
            table.add_row(title, str(len(counts)), str(sum(counts)))
        table.add_row("all", str(rounds), str(total))
        Console().print(table)
    raise typer.Exit(int(total > 0))


if __name__ == "__main__":
    typer.run(main)
