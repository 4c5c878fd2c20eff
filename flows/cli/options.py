"""Arguments and options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

from tasks.inversion.section import SEEDS

HOW_TO_ADD = 'wordmint add NAME PICTURE... --word WORD --source WHO --licence LICENCE --consent "no people"'
AsJson = Annotated[bool, typer.Option("--json", help="print JSON for a script")]
Name = Annotated[str, typer.Argument(help="the concept's key")]
Why = Annotated[str, typer.Option(help="the reason, for the history")]
Source = Annotated[str, typer.Option(help="who made the pictures or the imported word, or where they come from; required without --undeclared")]
Licence = Annotated[str, typer.Option(help="the licence that they may be used under, such as CC-BY-4.0; required without --undeclared")]
Consent = Annotated[str, typer.Option(help="how the people in the pictures consented, or that there are none; required without --undeclared")]
Undeclared = Annotated[str, typer.Option(metavar="REASON", help="why source, licence or consent is unknown; the word is published anyway")]
Seed = Annotated[int, typer.Option(min=0, max=SEEDS - 1, help="the seed of the first picture")]
AnyBase = Annotated[bool, typer.Option("--any-base", help="use words that were learned on another base model")]
Picture = Annotated[Path, typer.Argument(help="a picture; its central square is used")]
Prompt = Annotated[str, typer.Argument(help='such as "a photo of <teapot>"')]
Negative = Annotated[str, typer.Option(help="what the pictures should not show")]
Steps = Annotated[int | None, typer.Option("--steps", help="steps of the sampler; sample.num_inference_steps by default")]
Guidance = Annotated[float | None, typer.Option("--guidance", help="the guidance scale; sample.guidance_scale by default")]
