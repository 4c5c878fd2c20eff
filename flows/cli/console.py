"""How commands print."""

import json
from typing import Any

from rich.console import Console

console = Console()


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


def interval(score: dict[str, float | None]) -> str:
    """Return a score with its interval, where it has one."""
    bounds = "" if score["low"] is None or score["high"] is None else f" [{score['low']:.3f}, {score['high']:.3f}]"
    return f"{score['value']:.3f}{bounds}"
