"""What a build prints at its end."""

from collections.abc import Collection, Mapping, Sequence

from rich.table import Table
from rich.text import Text

from flows.cli.console import bounded, console
from tasks import artifacts
from tasks.registry.promotion import SCORES

FEW = 40
"""Concepts that are all shown; of more, those that the build was about."""


def print_build(concepts: Sequence[str], durations: Mapping[str, float], revoked: Mapping[str, str], failed: Collection[str]) -> None:
    """Print the built concepts with their scores and bounds, what is revoked or held back, and the address of the report.

    concepts: all concepts of the catalog. durations: seconds by concept that the build was about.
    """
    shown = concepts if len(concepts) <= FEW else [concept for concept in concepts if concept in durations or concept in failed]
    revoked, held_back = dict(revoked), dict[str, str]()
    table = Table(box=None, padding=(0, 1, 0, 0))
    for heading in ("concept", "version", *SCORES, "seconds"):
        table.add_column(heading, justify="left" if heading in ("concept", "version") else "right", no_wrap=True)
    for key in shown:
        seconds = f"{durations[key]:.0f}" if key in durations else "-"
        if key in failed:
            table.add_row(key, Text("failed", style="red"), *("" for _ in SCORES), seconds)
        elif artifacts.scores(key).exists() and artifacts.registered(key).exists():
            scores, record = artifacts.read_json(artifacts.scores(key)), artifacts.read_json(artifacts.registered(key))
            cells = [bounded(scores.get(name)) for name in SCORES]
            table.add_row(key, " ".join([f"v{record['version']}", *record["aliases"]]), *cells, seconds)
            revoked |= {key: record["revoked"]} if "revoked" in record else {}
            held_back |= {f"{key} v{record['version']}": record["held_back"]} if "held_back" in record else {}
    if not durations:
        others = "" if shown else f"; `wordmint list` shows all {len(concepts)}"
        console.print(f"nothing to do: every concept is up to date{others}")
    if table.row_count:
        console.print(table)
        console.print("beside each score: the scores of prompts without the word and of the training pictures", style="dim")
    if shown and len(shown) < len(concepts):
        console.print(f"the other {len(concepts) - len(shown)} concepts are as they were; `wordmint list` shows all")
    for key, reason in revoked.items():
        console.print(f"{key} is revoked and not built: {reason}; `wordmint reinstate {key}` brings it back", soft_wrap=True)
    for version, reason in held_back.items():
        console.print(f"{version} is held back and no champion: {reason}", soft_wrap=True)
    index = artifacts.REPORT / "index.html"
    if index.exists():
        console.print(f"report: {index.absolute().as_uri()}", soft_wrap=True)
