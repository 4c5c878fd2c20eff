"""The commands of `wordmint` that use words and measure them in use: imagine, edit, reimagine, compose, spread."""

import json
import logging
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from flows.cli.console import console, interval
from flows.cli.drawing import drawing
from flows.cli.options import AnyBase, AsJson, Guidance, Negative, Picture, Prompt, Seed, Steps
from flows.ui import client
from tasks.using import orders
from tasks.using.orders import MOST

app = typer.Typer()
log = logging.getLogger(__name__)


@app.command()
def imagine(
    prompt: Annotated[str, typer.Argument(help='such as "a photo of <teapot> on the moon"')],
    number: Annotated[int, typer.Option("-n", "--keep", min=1, max=MOST, help="pictures")] = 4,
    candidates: Annotated[int | None, typer.Option(min=1, max=MOST, help="draw this many and keep the best, as CLIP ranks them")] = None,
    seed: Seed = 0,
    negative: Negative = "",
    steps: Steps = None,
    guidance: Guidance = None,
    out: Annotated[Path, typer.Option(help="folder for the pictures")] = Path("imagined"),
    any_base: AnyBase = False,
) -> None:
    """Generate pictures of a prompt with the champion versions of the words in it."""
    look: dict[str, Any] = {"negative": negative, "num_inference_steps": steps, "guidance_scale": guidance}
    carry_out(out, prompt=prompt, number=number, candidates=candidates, seed=seed, any_base=any_base, **look)


@app.command()
def edit(
    picture: Picture,
    prompt: Prompt,
    mask: Annotated[Path, typer.Option(help="as large as the picture, white where it is edited")],
    number: Annotated[int, typer.Option("-n", min=1, max=MOST, help="pictures")] = 4,
    seed: Seed = 0,
    negative: Negative = "",
    steps: Steps = None,
    guidance: Guidance = None,
    out: Annotated[Path, typer.Option(help="folder for the pictures")] = Path("edited"),
    any_base: AnyBase = False,
) -> None:
    """Draw a prompt inside a mask; the picture outside the mask does not change."""
    look: dict[str, Any] = {"negative": negative, "num_inference_steps": steps, "guidance_scale": guidance}
    carry_out(out, picture, mask, kind="edit", prompt=prompt, number=number, seed=seed, any_base=any_base, **look)


@app.command()
def reimagine(
    picture: Picture,
    prompt: Prompt,
    concept: Annotated[str, typer.Option(help="the key of the concept that the picture shows")],
    guidance: Annotated[
        list[float],
        typer.Option(min=1, max=100, help="the guidance scale of one picture; repeat it for more pictures; a low one keeps the structure"),
    ] = [1, 2, 4],  # noqa: B006
    out: Annotated[Path, typer.Option(help="folder for the pictures")] = Path("reimagined"),
    any_base: AnyBase = False,
) -> None:
    """Redraw a picture of a concept under another prompt, from the noise that reproduces the picture."""
    carry_out(out, picture, kind="reimagine", prompt=prompt, concept=concept, guidance_scales=guidance, any_base=any_base)


def carry_out(out: Path, picture: Path | None = None, mask: Path | None = None, **asked: Any) -> None:
    """Carry out an order, in the process of `wordmint ui` where one runs for this catalog, and print each picture's file and what was measured."""
    warm = client.app_of_this_catalog()
    with drawing(here=warm is None) as settings:
        order = orders.order_of(**asked)
        if warm:
            log.warning("the app at %s draws; it has the model in memory", warm.address)
        pictures = client.carry_out(warm, order, picture, mask) if warm else orders.carry_out(order, settings, picture, mask)
        for drawn in pictures:
            file = orders.keep(drawn, order, out / orders.folder_of(order.prompt), settings)
            print(file, *(f"{name} {value:.3f}" for name, value in drawn.facts.items() if name != "seed"), sep="  ")


@app.command()
def compose(concepts: Annotated[list[str] | None, typer.Argument(help="keys; every built concept when none is given")] = None) -> None:
    """Measure which pairs of words go together: the share of a pair's pictures in which CLIP finds both. The report shows the shares."""
    with drawing() as settings:
        from tasks.using.compose import compose

        def print_pair(pair: dict[str, Any]) -> None:
            one, other = pair["concepts"]
            shares = pair["shares"]
            print(f"{pair['prompt']}  both in {shares['both']:.0%} ({one} {shares['one']:.0%}, {other} {shares['other']:.0%})")

        compose(concepts or [], settings, print_pair)


@app.command()
def spread(
    prompt: Annotated[str, typer.Argument(help='with {} for the word, such as "a photo of a {}"')],
    words: Annotated[list[str], typer.Argument(help="ordinary words, and words of the catalog such as <mug>")],
    over: Annotated[str, typer.Option(help="the values of an attribute, such as red,blue,green")],
    number: Annotated[int, typer.Option("-n", min=1, max=MOST, help="pictures of each word")] = 64,
    seed: Seed = 0,
    any_base: AnyBase = False,
    as_json: AsJson = False,
) -> None:
    """Measure the bias of words: how evenly their pictures spread over an attribute, by the scorer."""
    with drawing() as settings:
        from tasks.using.spread import spread

        rows = spread(prompt, words, [value.strip() for value in over.split(",")], number, seed, settings, any_base)
        if as_json:
            print(json.dumps(rows, indent=2))
            return
        table = Table("word", "evenness, 0 to 1", *rows[0]["counts"], box=None)
        for row in rows:
            table.add_row(row["word"], interval(row["evenness"]), *map(str, row["counts"].values()))
        console.print(table)
