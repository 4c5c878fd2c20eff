"""The commands of `wordmint` that ask people: questionnaire, answers."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from flows.cli.console import console, interval, print_json
from flows.cli.options import AsJson
from tasks.inversion.section import SEEDS
from tasks.pipeline.door import one_line_errors
from tasks.settings import load_settings

app = typer.Typer()


@app.command()
def questionnaire(
    concepts: Annotated[list[str] | None, typer.Argument(help="keys; every built concept when none is given")] = None,
    items: Annotated[int, typer.Option(min=1, max=1_000, help="sets to put in order, for each concept and each of the two questions")] = 3,
    checks: Annotated[int, typer.Option(min=0, max=1_000, help="attention checks for each of the two questions")] = 2,
    seed: Annotated[int, typer.Option(min=0, max=SEEDS - 1, help="the seed of the choice and order of pictures")] = 0,
    out: Annotated[Path | None, typer.Option(help="the HTML page; questionnaire-ID.html when none is named")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a page on which people put pictures of versions in order, by similarity to the training pictures and by fit to the prompt."""
    with one_line_errors():
        from tasks.people.questionnaire import write_questionnaire

        written = write_questionnaire(concepts or [], load_settings(), items, checks, seed, out)
        if as_json:
            print_json(written._asdict() | {"page": str(written.page), "record": str(written.record)})
            return
        console.print(f"page: {written.page.absolute().as_uri()}, {written.items} items, {written.megabytes:.1f} MB", soft_wrap=True)
        console.print(f"send it to raters; commit {written.record}, which tells `wordmint answers` what they saw", soft_wrap=True)


@app.command()
def answers(
    files: Annotated[list[Path] | None, typer.Argument(exists=True, dir_okay=False, help="files of raters; if none, the kept answers")] = None,
    max_failed: Annotated[float, typer.Option(min=0, max=1, help="the share of attention checks that a rater may fail")] = 0.25,
    replace: Annotated[bool, typer.Option("--replace", help="replace earlier answers that have the same code")] = False,
    as_json: AsJson = False,
) -> None:
    """Keep what raters answered, and show what they prefer and how far each score agrees with them."""
    with one_line_errors():
        from tasks.people.answers import keep
        from tasks.people.opinion import opinion

        settings = load_settings()
        concepts, new = keep(files, replace) if files else (list(settings.concepts), 0)
        facts = opinion(concepts, settings, max_failed)
        if as_json:
            print_json({"new": new, **facts})
            return
        if new:
            console.print(f"{new} new; commit the .dvc files below data/answers/", soft_wrap=True)
        print_opinion(facts)


def print_opinion(facts: dict[str, Any]) -> None:
    """Print people's numbers for every candidate, how far each score agrees with them, and whose answers do not count."""
    metrics = list(facts["agreement"])
    for concept, judged in facts["concepts"].items():
        raters = judged["raters"]
        table = Table(f"{concept}, {raters} rater{'' if raters == 1 else 's'}", *metrics, box=None)
        for name, scores in judged["candidates"].items():
            table.add_row(name, *(interval(scores[metric]) if metric in scores else "-" for metric in metrics))
        console.print(table)
    if facts["concepts"]:
        console.print("Kendall's tau, from -1 to 1:")
    for metric, compared in facts["agreement"].items():
        for name, tau in compared.items():
            if tau is not None:
                who = "between raters" if name == "raters" else f"of {name} with raters"
                console.print(f"  {metric}, {who}: {interval(tau)}", soft_wrap=True, highlight=False)
    for row in facts["dropped"]:
        failed = f"{row['failed']} of {row['checks']} attention checks failed"
        console.print(f"rater {row['code']} does not count: {failed}", soft_wrap=True, highlight=False)
