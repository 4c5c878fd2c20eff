"""The commands about a catalog as a whole: init and upgrade."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.console import console
from flows.cli.options import HOW_TO_ADD
from tasks.pipeline.door import one_line_errors

app = typer.Typer()


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="a new or empty folder")],
    example: Annotated[bool, typer.Option("--example", help="with the five concepts that come with wordmint")] = False,
) -> None:
    """Make a new catalog: a folder under Git and DVC with commented settings."""
    with one_line_errors():
        from tasks.using.new_catalog import new_catalog

        new_catalog(folder, example)
        next_command = "wordmint build" if example else HOW_TO_ADD
        console.print(f"made {folder}; next: cd {folder}, then {next_command}", soft_wrap=True)


@app.command()
def upgrade(yes: Annotated[bool, typer.Option("--yes", help="write what is shown")] = False) -> None:
    """Show how the catalog's graph differs from the one this wordmint runs; --yes upgrades it and keeps the results that stay valid."""
    with one_line_errors():
        from tasks.pipeline.upgrade import differences, upgrade, upgrades

        new = upgrades()
        for line in differences(new):
            print(line)
        if yes and new:
            upgrade(new)
        names = ", ".join(map(str, new))
        message = f"{names} upgraded; commit the change" if yes else f"{names} would change; nothing is written yet, --yes writes it"
        console.print(message if new else "nothing to upgrade", soft_wrap=True)
