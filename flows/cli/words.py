"""The commands of `wordmint` that exchange and compare words: export, import, neighbours."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from flows.cli.console import console
from flows.cli.options import AsJson, Consent, Licence, Name, Source, Undeclared
from tasks.concepts.rights import Rights
from tasks.pipeline.door import one_line_errors
from tasks.settings import load_settings

app = typer.Typer()


@app.command("export")
def export(
    reference: Annotated[str, typer.Argument(metavar="NAME[@ALIAS|vN]", help="a concept; its champion unless an alias or a version is named")],
    style: Annotated[str, typer.Option("--format", help="diffusers, a1111, kohya, comfyui, sd-concepts-library or pipeline")],
    out: Annotated[Path | None, typer.Option(help="file or folder; below exported/ by default")] = None,
    rank: Annotated[int | None, typer.Option(min=1, help="write a denoiser tuned by DreamBooth as the nearest LoRA of this rank")] = None,
) -> None:
    """Write a registered word in the format of another tool, or a whole pipeline with the word in it."""
    with one_line_errors():
        from tasks.using.export import export_word

        print(export_word(reference, style, out, load_settings(), rank))


@app.command("import")
def import_(
    path: Annotated[Path, typer.Argument(metavar="FILE|FOLDER", help="a word of another tool")],
    name: Annotated[str | None, typer.Option(help="the concept's key; by default the name in the file, else the file's name")] = None,
    word: Annotated[str | None, typer.Option(help="an ordinary word or phrase with a similar meaning")] = None,
    kind: Annotated[str | None, typer.Option(help="object or style; by default what the file says, else object")] = None,
    pictures: Annotated[list[Path] | None, typer.Option(help="a picture of it, or a folder of them; may be repeated")] = None,
    lora: Annotated[Path | None, typer.Option(help="the file of the word's LoRA, as diffusers or kohya's scripts write it")] = None,
    any_base: Annotated[bool, typer.Option("--any-base", help="take a word that was learned on another base model")] = False,
    source: Source = "",
    licence: Licence = "",
    consent: Consent = "",
    undeclared: Undeclared = "",
) -> None:
    """Add a word that another tool learned to this catalog, as a concept."""
    with one_line_errors():
        from tasks.using.exchange import import_word

        rights = Rights(source=source, licence=licence, consent=consent, undeclared=undeclared)
        key = import_word(path, name, word, kind, pictures or [], load_settings(), rights, any_base, lora)
        console.print(f"imported {key} as <{key}>; next: wordmint build {key}")


@app.command("neighbours")
def neighbours(
    name: Name,
    number: Annotated[int, typer.Option("-n", min=1, help="how many words of the catalog, and of the base model")] = 5,
    as_json: AsJson = False,
) -> None:
    """Show which words of the catalog and of the base model are nearest to one."""
    with one_line_errors():
        from tasks.using import exchange

        near = exchange.neighbours(name, load_settings(), number)
        if as_json:
            print(json.dumps(near, indent=2))
            return
        table = Table("nearest", "of", "cosine", "")
        for row in near["catalog"]:
            table.add_row(row["placeholder_token"], "the catalog", f"{row['cosine']:.3f}", "nearly the same word" if row["near_identical"] else "")
        for row in near["vocabulary"]:
            table.add_row(row["word"], "the base model", f"{row['cosine']:.3f}", "")
        console.print(table)
