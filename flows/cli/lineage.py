"""The commands that follow a version back to its pictures, and a picture to its versions."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from flows.cli.console import console, print_json
from flows.cli.options import AsJson
from flows.cli.versions import registered
from tasks.pipeline.door import one_line_errors
from tasks.registry.connection import tracking_uri
from tasks.settings import load_settings

app = typer.Typer()


@app.command()
def lineage(
    reference: Annotated[str, typer.Argument(metavar="NAME[@ALIAS|vN]", help="a concept; its champion unless an alias or a version is named")],
    as_json: AsJson = False,
) -> None:
    """Show what a version was made from, down to its pictures, and check every link; a broken link is an error."""
    with registered(reference.partition("@")[0], changes=False):
        from tasks.versions.lineage import BROKEN, trace

        facts = trace(reference)
        if as_json:
            print_json(facts)
        else:
            print_lineage(facts)
        if broken := [f"{name}: {link['said']}" for name, link in facts["links"].items() if link["verdict"] == BROKEN]:
            raise ValueError(f"the lineage of {facts['concept']} v{facts['version']} is BROKEN at {'; '.join(broken)}")


def print_lineage(facts: dict[str, Any]) -> None:
    """Print a version's lineage, one link after the other."""
    heading = f"{facts['concept']} v{facts['version']} {' '.join(facts['aliases'])}, registered {facts['created'][:16]}"
    console.print(heading + (f", revoked: {facts['revoked']}" if facts["revoked"] else ""), soft_wrap=True, highlight=False)
    for name, link in facts["links"].items():
        colour = {"holds": "green", "open": "yellow"}.get(link["verdict"], "bold red")
        console.print(Text(f"{link['verdict']:<7}", style=colour), f"{name:<10} {link['said']}", sep="", soft_wrap=True, highlight=False)
        for key, value in link["recorded"].items():
            console.print(f"{'':<17}{key}: {value}", soft_wrap=True, highlight=False)
    console.print(f"{'settings':<17}" + ", ".join(f"{key} {value}" for key, value in facts["settings"].items()), soft_wrap=True)
    console.print(f"{'flow run':<17}{facts['flow_run']}", soft_wrap=True, highlight=False)


@app.command("made-from")
def made_from(
    picture: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="the picture's file, which is compared byte for byte")],
    as_json: AsJson = False,
) -> None:
    """Show which versions were made from a picture."""
    with one_line_errors():
        from tasks.registry import connection
        from tasks.versions.made_from import versions_of

        connection.connect(tracking_uri(load_settings()))
        facts = versions_of(picture)
        if as_json:
            print_json(facts)
        else:
            for row in facts["versions"]:
                console.print(f"{row['concept']}@v{row['version']}  {row['file']}", soft_wrap=True, highlight=False)
            if not facts["versions"]:
                console.print("no version was made from it")
        if facts["unknown"]:
            versions = "; ".join(f"{row['concept']}@v{row['version']} ({row['file']})" for row in facts["unknown"])
            raise ValueError(f"the pictures of some versions could not be fetched, so they were not searched: {versions}")
