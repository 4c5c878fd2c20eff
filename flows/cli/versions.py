"""The commands about versions, from promote to prune."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from flows.cli.console import console, interval, print_json
from flows.cli.options import AsJson, Name, Why
from tasks.pipeline.device import device_lock
from tasks.pipeline.door import one_line_errors
from tasks.registry.connection import tracking_uri
from tasks.settings import Settings, check_concept_key, load_settings

app = typer.Typer()


@contextmanager
def registered(name: str, changes: bool = True) -> Iterator[Settings]:
    """Connect to the registry, and bring the concept's record under data/ in line with what the block did there; errors are one line."""
    with one_line_errors():
        settings = load_settings()
        check_concept_key(name)  # it becomes part of a filter
        from tasks.registry import connection

        uri = tracking_uri(settings)
        if not connection.exists(uri):
            raise ValueError(f"concept {name!r} has no versions: nothing was registered yet; build it with `wordmint build {name}`")
        connection.connect(uri)
        try:
            yield settings
        finally:
            if changes:
                from tasks.versions.records import keep_record

                keep_record(name)


@app.command()
def promote(
    name: Name,
    version: Annotated[int | None, typer.Option(help="instead of the challenger")] = None,
    accept: Annotated[str, typer.Option(help="why it may replace a champion of other pictures or another base, which scores cannot settle")] = "",
    as_json: AsJson = False,
) -> None:
    """Make the challenger champion if the gate lets it."""
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
def rescore(name: Name, version: Annotated[int | None, typer.Option(help="instead of the champion")] = None, as_json: AsJson = False) -> None:
    """Sample and score a published version with the present scorer and prompts; nothing is trained."""
    with registered(name) as settings, device_lock(settings.runtime.device):
        from tasks.versions.rescore import rescore

        found = rescore(name, settings, version)
        if as_json:
            print_json({"concept": name, **found})
            return
        said = ", ".join(f"{score} {interval(values)}" for score, values in found["scores"].items())
        console.print(f"{name} v{found['version']}: {said}", soft_wrap=True)


@app.command()
def history(name: Name, as_json: AsJson = False) -> None:
    """Show a concept's versions with their scores and aliases, and all that was decided about them."""
    with registered(name, changes=False):
        from tasks.registry.lifecycle import history

        found = history(name)
        if as_json:
            print_json(found)
            return
        if found["revoked"]:
            console.print(f"revoked: {found['revoked']}", soft_wrap=True, markup=False)
        table = Table("version", "registered", "aliases", "reconstruction", "editability", box=None)
        for row in found["versions"]:
            scores = [interval(row[score]) for score in ("reconstruction", "editability")]
            table.add_row(f"v{row['version']}", row["created"][:16], " ".join(row["aliases"]), *scores)
        console.print(table)
        told = set()
        for line in found["events"]:
            fact = (line["event"], line["version"], line.get("against"), line.get("verdict"), line.get("reason"))
            if line["event"] == "decision" and fact in told:
                continue  # it was weighed again, to the same end
            told.add(fact)
            against = f" against v{line['against']}" if line.get("against") else ""
            said = f"{line.get('verdict') or ''} {line.get('reason') or ''}".strip()
            console.print(f"{line['at'][:16]}  {line['event']} v{line['version']}{against}  {said}", soft_wrap=True, markup=False, highlight=False)


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
        console.print(facts["decision"]["reason"], soft_wrap=True, markup=False)
        console.print(f"page: {page.absolute().as_uri()}", soft_wrap=True)


@app.command()
def lineage(
    reference: Annotated[str, typer.Argument(metavar="NAME[@ALIAS|vN]", help="a concept; its champion if nothing else is said")],
    as_json: AsJson = False,
) -> None:
    """Show what a version was made from, down to its pictures, and check every link; one that is broken is an error."""
    with registered(reference.partition("@")[0], changes=False):
        from tasks.versions.lineage import BROKEN, trace

        found = trace(reference)
        if as_json:
            print_json(found)
        else:
            print_lineage(found)
        if broken := [f"{name}: {link['said']}" for name, link in found["links"].items() if link["verdict"] == BROKEN]:
            raise ValueError(f"the lineage of {found['concept']} v{found['version']} is BROKEN at {'; '.join(broken)}")


def print_lineage(found: dict[str, Any]) -> None:
    """Print a version's lineage for a person."""
    heading = f"{found['concept']} v{found['version']} {' '.join(found['aliases'])}, registered {found['created'][:16]}"
    console.print(heading + (f", revoked: {found['revoked']}" if found["revoked"] else ""), soft_wrap=True, markup=False, highlight=False)
    for name, link in found["links"].items():
        colour = {"holds": "green", "open": "yellow"}.get(link["verdict"], "bold red")
        console.print(f"[{colour}]{link['verdict']:<7}[/]{name:<10}", escape(link["said"]), soft_wrap=True, highlight=False)
        for key, value in link["recorded"].items():
            console.print(f"{'':<17}{key}: {value}", soft_wrap=True, markup=False, highlight=False)
    console.print(f"{'settings':<17}" + ", ".join(f"{key} {value}" for key, value in found["settings"].items()), soft_wrap=True, markup=False)
    console.print(f"{'flow run':<17}{found['flow_run']}", soft_wrap=True, markup=False, highlight=False)


@app.command("made-from")
def made_from(picture: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="the file, byte for byte")], as_json: AsJson = False) -> None:
    """Show which versions were made from a picture."""
    with one_line_errors():
        from tasks.registry import connection
        from tasks.versions.made_from import versions_of

        connection.connect(tracking_uri(load_settings()))
        found = versions_of(picture)
        if as_json:
            print_json(found)
        else:
            for row in found["versions"]:
                console.print(f"{row['concept']}@v{row['version']}  {row['file']}", soft_wrap=True, markup=False, highlight=False)
            if not found["versions"]:
                console.print("no version was made from it")
        if found["unknown"]:
            said = "; ".join(f"{row['concept']}@v{row['version']} ({row['file']})" for row in found["unknown"])
            raise ValueError(f"the pictures of some versions cannot be had to look into: {said}")


@app.command()
def revoke(name: Name, why: Annotated[str, typer.Option(help="the reason, for everybody who meets the concept")]) -> None:
    """Take a concept back: every alias goes, its versions are marked, and it is not trained again."""
    with registered(name):
        from tasks.registry.lifecycle import revoke

        taken = revoke(name, why)
        said = ", ".join(f"{alias} v{version}" for alias, version in taken.items())
        console.print(f"{name} is revoked ({said or 'it had no alias'}); `wordmint reinstate {name}` undoes it", soft_wrap=True)


@app.command()
def reinstate(name: Name, why: Why = "") -> None:
    """Undo a revocation: the aliases are as they were."""
    with registered(name):
        from tasks.registry.lifecycle import reinstate

        said = ", ".join(f"{alias} v{version}" for alias, version in reinstate(name, why).items())
        console.print(f"{name} is back: {said or 'it had no alias'}")


@app.command()
def prune(
    yes: Annotated[bool, typer.Option("--yes", help="delete what is shown")] = False,
    hours: Annotated[float, typer.Option(min=0, help="leave alone what was touched since; another machine may be at it")] = 24.0,
    as_json: AsJson = False,
) -> None:
    """Show what no version and no alias needs, half registrations and half-written files, and delete it with --yes."""
    with one_line_errors():
        from tasks.versions.pruning import delete, leftovers

        found = leftovers(load_settings(), 60 * hours)
        if as_json:
            print_json([{"what": leftover.what, "why": leftover.why, "deleted": yes} for leftover in found])
        elif not found:
            console.print("nothing to prune")
        else:
            for leftover in found:
                console.print(f"{leftover.what}  {leftover.why}", soft_wrap=True, markup=False, highlight=False)
        if yes:
            delete(found)
        if found and not as_json:
            console.print(f"{len(found)} deleted" if yes else f"{len(found)} to delete; nothing is gone yet, --yes deletes them")
