"""The output of every benchmark: a table for a person, or one JSON object for a script."""

import json
import os
import platform
from dataclasses import asdict, dataclass

import torch
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One measured case beside its peer: another program in the same run, or the mark to reach."""

    case: str
    ours: float
    peer: float
    unit: str

    @property
    def ratio(self) -> float:
        return self.ours / self.peer


def machine() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{os.cpu_count()} CPU cores, {platform.machine()}, torch {torch.__version__}"


def show(benchmark: str, rows: list[Row], peer: str, as_json: bool) -> None:
    """Print rows; `peer` is the heading of the column of the peers."""
    if as_json:
        print(json.dumps({"benchmark": benchmark, "machine": machine(), "rows": [asdict(row) | {"ratio": row.ratio} for row in rows]}, indent=2))
        return
    table = Table("case", "ours", peer, "ratio", "unit", title=f"{benchmark}, {machine()}", title_justify="left")
    for row in rows:
        table.add_row(row.case, f"{row.ours:.3g}", f"{row.peer:.3g}", f"{row.ratio:.2f}", row.unit)
    Console().print(table)
