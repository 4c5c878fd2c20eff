"""The command that shows the catalog as a local web app."""

from typing import Annotated

import typer

from flows.cli.console import console
from tasks.pipeline.door import one_line_errors

app = typer.Typer()


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free port")] = 8017,
    browser: Annotated[bool, typer.Option(help="open the page in a browser")] = True,
    host: Annotated[str, typer.Option(help="the address to listen on; one that other machines reach needs --token")] = "127.0.0.1",
    token: Annotated[str, typer.Option(metavar="PASSWORD", envvar="WORDMINT_UI_TOKEN", help="the password for people on other machines")] = "",
    read_only: Annotated[bool, typer.Option("--read-only", help="show the catalog; draw and change nothing")] = False,
) -> None:
    """Open the catalog as a web app: look, add, build, draw, promote."""
    with one_line_errors():
        from flows.ui.guard import Access, check_address
        from flows.ui.serving import serve

        check_address(host, token)
        serve(
            Access(host=host, token=token, read_only=read_only),
            port,
            browser,
            lambda address: console.print(f"the catalog is at {address}; Ctrl-C ends it", soft_wrap=True, highlight=False),
        )
