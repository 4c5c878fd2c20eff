"""The commands of `wordmint` that share a catalog: push, pull, take. docs/team.md shows them at work."""

from typing import Annotated, Literal

import typer

from flows.cli.console import console
from tasks.pipeline.door import one_line_errors
from tasks.settings import load_settings

app = typer.Typer()


@app.command()
def push(
    every_file: Annotated[bool, typer.Option("--every-file", help="ask the remote for every file, and send what it has lost; takes longer")] = False,
) -> None:
    """Send pictures, embeddings, samples and every recorded run to DVC's default remote; commit and push Git afterwards."""
    with one_line_errors():
        from tasks.versions import sharing

        sharing.push(load_settings(), every_file)
        console.print("sent to DVC's default remote; now commit, and run `git push`")


@app.command()
def pull() -> None:
    """Fetch from DVC's default remote what Git names and what others built; run `git pull` first."""
    with one_line_errors():
        from tasks.versions import sharing

        settings = load_settings()
        pulled = sharing.pull(settings)
        console.print(f"{pulled.fetched} files fetched" + (f"; built by others: {', '.join(pulled.restored)}" if pulled.restored else ""))
        stale = dict.fromkeys(name.partition("@")[2] for name in pulled.stale)
        console.print(f"to build: {' '.join(stale)}; see `wordmint status`" if stale else "every concept is up to date", soft_wrap=True)


@app.command()
def take(
    side: Annotated[Literal["ours", "theirs"], typer.Argument(help="ours: this branch; theirs: what is merged into it, in a rebase your commits")],
    path: Annotated[str, typer.Argument(help="a conflict, such as sample.seed, or concepts.fox with its pictures; all by default")] = "",
) -> None:
    """Settle a conflict after `git merge`: keep one side of what both changed; the rest stays merged."""
    with one_line_errors():
        from tasks.pipeline import conflicts

        settled, left = conflicts.take(side, path)
        console.print(f"took {side} of {', '.join(settled)}", soft_wrap=True, markup=False)
        next_command = "go on as `git status` says, then run `wordmint pull`"
        console.print(f"still in conflict: {', '.join(left)}" if left else next_command, soft_wrap=True, markup=False)
