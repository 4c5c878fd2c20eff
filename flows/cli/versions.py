"""The commands about versions, from promote to prune."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from flows.cli.console import console, interval, print_json
from flows.cli.options import AsJson, Name, Why
from tasks.pipeline.device import catalog_turn, device_lock
from tasks.pipeline.door import one_line_errors
from tasks.registry.promotion import SCORES
from tasks.settings import Settings, load_settings

app = typer.Typer()


@contextmanager
def registered(name: str, changes: bool = True) -> Iterator[Settings]:
    """Connect to the registry for a concept, as `in_registry` does; errors are one line."""
    with one_line_errors():
        from tasks.versions.records import in_registry

        with in_registry(name, changes) as settings:
            yield settings


@app.command()
def promote(
    name: Name,
    version: Annotated[int | None, typer.Option(help="the version to promote; the challenger by default")] = None,
    accept: Annotated[str, typer.Option(help="the reason to promote a version of other pictures or another base, or one held back")] = "",
    as_json: AsJson = False,
) -> None:
    """Make the challenger champion if the gate lets it pass."""
    with registered(name):
        from tasks.registry.lifecycle import promote

        number, decision = promote(name, version, accept)
        if as_json:
            print_json(
                {
                    "concept": name,
                    "version": number,
                    "against": decision.against,
                    "promoted": decision.promote,
                    "verdict": decision.verdict,
                    "reason": decision.reason,
                    "numbers": decision.numbers,
                }
            )
        if not decision.promote:
            raise ValueError(f"{name} v{number} is not promoted: {decision.reason}")
        if not as_json:
            console.print(f"{name} v{number} is champion: {decision.reason}", soft_wrap=True)


@app.command()
def rollback(name: Name, why: Why = "") -> None:
    """Make the previous champion champion again; a second rollback undoes the first."""
    with registered(name):
        from tasks.registry.lifecycle import rollback

        version, replaced = rollback(name, why)
        console.print(f"{name} v{version} is champion again" + (f", v{replaced} is previous" if replaced else ""))


@app.command()
def rescore(
    name: Name,
    version: Annotated[int | None, typer.Option(help="the version to score; the champion by default")] = None,
    as_json: AsJson = False,
) -> None:
    """Sample and score a published version with the present scorer and prompts; nothing is trained."""
    with registered(name) as settings, device_lock(settings.runtime.device):
        from tasks.versions.rescore import rescore

        rescored = rescore(name, settings, version)
        if as_json:
            print_json({"concept": name, **rescored})
            return
        scores = ", ".join(f"{score} {interval(values)}" for score, values in rescored["scores"].items())
        console.print(f"{name} v{rescored['version']}: {scores}", soft_wrap=True)


@app.command()
def history(name: Name, as_json: AsJson = False) -> None:
    """Show a concept's versions with their scores and aliases, and every decision about them."""
    with registered(name):  # after an interrupted move of an alias, this brings the record in line
        from tasks.registry.lifecycle import history

        facts = history(name)
        if as_json:
            print_json(facts)
            return
        if facts["revoked"]:
            console.print(f"revoked: {facts['revoked']}", soft_wrap=True)
        table = Table("version", "registered", "aliases", *SCORES, box=None)
        for row in facts["versions"]:
            scores = [interval(row.get(score)) for score in SCORES]
            table.add_row(f"v{row['version']}", row["created"][:16], " ".join(row["aliases"]), *scores)
        console.print(table)
        printed = set()
        for line in facts["events"]:
            fact = (line["event"], line["version"], line.get("against"), line.get("verdict"), line.get("reason"))
            if line["event"] == "decision" and fact in printed:
                continue  # the same decision was reached again
            printed.add(fact)
            against = f" against v{line['against']}" if line.get("against") else ""
            verdict = f"{line.get('verdict') or ''} {line.get('reason') or ''}".strip()
            console.print(f"{line['at'][:16]}  {line['event']} v{line['version']}{against}  {verdict}", soft_wrap=True, highlight=False)


@app.command()
def diff(
    name: Name,
    one: Annotated[int, typer.Argument(help="a version, such as 1")],
    two: Annotated[int, typer.Argument(help="the other one")],
    out: Annotated[Path | None, typer.Option(help="the HTML page; NAME-vONE-vTWO.html when none is named")] = None,
    as_json: AsJson = False,
) -> None:
    """Show two versions side by side, scores, settings and picture sets, and write a page with what they draw."""
    with registered(name, changes=False):
        from tasks.versions.comparison import compare

        page = out or Path(f"{name}-v{one}-v{two}.html")
        facts = compare(name, one, two, page)
        if as_json:
            print_json(facts | {"page": str(page)})
            return
        table = Table("", f"v{one}", f"v{two}", box=None)
        for score, pair in facts["scores"].items():
            table.add_row(score, *map(interval, pair))
        for key, (first, second) in (facts["evidence"] | facts["settings"]).items():
            if first != second:
                table.add_row(key, str(first), str(second))
        console.print(table)
        console.print(facts["decision"]["reason"], soft_wrap=True)
        console.print(f"page: {page.absolute().as_uri()}", soft_wrap=True)


@app.command()
def revoke(name: Name, why: Annotated[str, typer.Option(help="the reason, which everyone who uses the concept is shown")]) -> None:
    """Revoke a concept: its aliases are removed, its versions are marked, and it is not trained again."""
    with registered(name):
        from tasks.registry.lifecycle import revoke

        removed = ", ".join(f"{alias} v{version}" for alias, version in revoke(name, why).items())
        console.print(f"{name} is revoked ({removed or 'it had no alias'}); `wordmint reinstate {name}` undoes it", soft_wrap=True)


@app.command()
def reinstate(name: Name, why: Why = "") -> None:
    """Undo a revocation and restore the aliases."""
    with registered(name):
        from tasks.registry.lifecycle import reinstate

        restored = ", ".join(f"{alias} v{version}" for alias, version in reinstate(name, why).items())
        console.print(f"{name} is back: {restored or 'it had no alias'}")


@app.command()
def prune(
    yes: Annotated[bool, typer.Option("--yes", help="delete what is shown")] = False,
    hours: Annotated[float, typer.Option(min=0, help="keep what changed in these last hours; another machine may be writing it")] = 24.0,
    results: Annotated[bool, typer.Option("--results", help="also replaced results in DVC's cache here, unless a commit names them")] = False,
    as_json: AsJson = False,
) -> None:
    """Show unfinished registrations, half-written files and what else no version or alias needs; --yes deletes it."""
    with one_line_errors(), catalog_turn() if results else nullcontext():  # a build may record again what seems replaced
        from tasks.versions.pruning import delete, leftovers, replaced_results

        settings = load_settings()
        unneeded = leftovers(settings, 60 * hours) + (replaced_results(settings, 60 * hours) if results else [])
        if as_json:
            print_json([{"what": leftover.what, "why": leftover.why, "deleted": yes} for leftover in unneeded])
        elif not unneeded:
            console.print("nothing to prune")
        else:
            for leftover in unneeded:
                console.print(f"{leftover.what}  {leftover.why}", soft_wrap=True, highlight=False)
        if yes:
            delete(unneeded)
        if unneeded and not as_json:
            console.print(f"{len(unneeded)} deleted" if yes else f"{len(unneeded)} to delete; nothing is gone yet, --yes deletes them")
