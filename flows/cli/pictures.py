"""The commands of `wordmint` by which words are used and measured in use: edit, reimagine, compose, spread."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from flows.cli.console import console, interval
from flows.cli.drawing import drawing
from flows.cli.options import AnyBase, AsJson, Picture, Prompt

app = typer.Typer()


@app.command()
def edit(
    picture: Picture,
    prompt: Prompt,
    mask: Annotated[Path, typer.Option(help="a picture of the same size, white where to edit")],
    number: Annotated[int, typer.Option("-n", min=1, help="pictures")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="of the first picture")] = 0,
    out: Annotated[Path, typer.Option(help="folder for the pictures")] = Path("edited"),
    any_base: AnyBase = False,
) -> None:
    """Draw what a prompt says inside a mask; outside the picture stays as it is."""
    with drawing() as settings:
        from tasks.using.edit import edit_picture

        for path in edit_picture(picture, mask, prompt, number, seed, out, settings, any_base):
            print(path)


@app.command()
def reimagine(
    picture: Picture,
    prompt: Prompt,
    concept: Annotated[str, typer.Option(help="the key of what the picture shows")],
    guidance: Annotated[list[float], typer.Option(min=1, help="guidance scale, a picture for each; low ones keep the structure")] = [1, 2, 4],  # noqa: B006
    out: Annotated[Path, typer.Option(help="folder for the pictures")] = Path("reimagined"),
    any_base: AnyBase = False,
) -> None:
    """Draw a picture of a concept anew under another prompt, from the noise that gives the picture itself."""
    with drawing() as settings:
        from tasks.using.edit import reimagine_picture

        found = reimagine_picture(picture, concept, prompt, guidance, out, settings, any_base)
        print(f"{found.reconstruction}  {found.psnr:.1f} dB PSNR; the autoencoder alone has {found.autoencoder_psnr:.1f} dB")
        for path in found.pictures:
            print(path)


@app.command()
def compose(concepts: Annotated[list[str] | None, typer.Argument(help="keys; all that are built when none is given")] = None) -> None:
    """Measure which pairs of words compose: in how many pictures of both CLIP finds both. The report shows it."""
    with drawing() as settings:
        from tasks.using.compose import compose

        def say(pair: dict[str, Any]) -> None:
            one, other = pair["concepts"]
            shares = pair["shares"]
            print(f"{pair['prompt']}  both in {shares['both']:.0%} ({one} {shares['one']:.0%}, {other} {shares['other']:.0%})")

        compose(concepts or [], settings, say)


@app.command()
def spread(
    prompt: Annotated[str, typer.Argument(help='with {} for the word, such as "a photo of a {}"')],
    words: Annotated[list[str], typer.Argument(help="ordinary words, and words of the catalog such as <mug>")],
    over: Annotated[str, typer.Option(help="the values of an attribute, such as red,blue,green")],
    number: Annotated[int, typer.Option("-n", min=1, help="pictures of each word")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="of the first picture")] = 0,
    any_base: AnyBase = False,
    as_json: AsJson = False,
) -> None:
    """Measure the bias of words: how evenly their pictures spread over an attribute, by the scorer."""
    with drawing() as settings:
        from tasks.using.spread import spread

        found = spread(prompt, words, [value.strip() for value in over.split(",")], number, seed, settings, any_base)
        if as_json:
            print(json.dumps(found, indent=2))
            return
        table = Table("word", "evenness, 0 to 1", *found[0]["counts"], box=None)
        for row in found:
            table.add_row(row["word"], interval(row["evenness"]), *map(str, row["counts"].values()))
        console.print(table)
