"""The `wordmint` command; slow imports wait until a command needs them."""

import gc
import json
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from flows.cli import catalog, lineage, people, pictures, schedule, serving, sharing, versions, words
from flows.cli.built import print_build
from flows.cli.console import console, interval
from flows.cli.ending import as_interrupts, swift_end
from flows.cli.options import HOW_TO_ADD, AsJson, Consent, Licence, Name, Source, Undeclared
from tasks import artifacts
from tasks.concepts.rights import Rights
from tasks.inversion.options import FROM_PICTURES
from tasks.pipeline import fingerprints
from tasks.pipeline.door import one_line_errors
from tasks.registry.connection import tracking_uri
from tasks.registry.promotion import SCORES, measured
from tasks.settings import Settings, load_settings

TELEMETRY = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DVC_NO_ANALYTICS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""The variables that turn off the telemetry of Prefect, MLflow, DVC and Ray."""

app = typer.Typer(help="Mint new words of a text-to-image model from pictures, and keep them as a catalog.", no_args_is_help=True)

# Prefect reads these on import. A build shows its own progress, and a busy machine may need more than 20 s to start the server.
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")
for variable, value in TELEMETRY.items():  # off unless the user turned it on; Prefect prints a traceback where it has no internet
    os.environ.setdefault(variable, value)


@app.command()
def build(concepts: Annotated[list[str] | None, typer.Argument(help="concept keys of params.yaml; all by default")] = None) -> None:
    """Build every stale concept, or the stale ones among those that are named."""
    with one_line_errors():
        settings = load_settings()
        if not settings.chosen(concepts or None):
            raise ValueError(f"params.yaml has no concepts yet; add one with `{HOW_TO_ADD}`")
        if fingerprints.nothing_to_do(settings, concepts):
            print_build(list(settings.concepts), {}, {}, ())
            return
        from flows.batches import load_stage
        from flows.build_catalog import build_catalog
        from flows.outcome import BuildFailed
        from flows.progress import progress
        from tasks.pipeline.graph import STAGES

        as_interrupts()
        try:
            with progress(console), ThreadPoolExecutor(1) as importer:
                if settings.runtime.task_runner == "threads":
                    # Prefect's server takes as long to start. An error here occurs again, and is reported, when the build uses the module.
                    importer.map(load_stage, STAGES)
                    importer.submit(import_module, "mlflow")
                outcome = build_catalog(concepts or None)
        except BuildFailed as error:
            print_build(list(settings.concepts), error.outcome.seconds, error.outcome.revoked, error.outcome.failed)
            raise ValueError(str(error)) from error
        print_build(list(settings.concepts), outcome.seconds, outcome.revoked, outcome.failed)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="the concept's key")],
    pictures: Annotated[list[Path], typer.Argument(help="3-5 pictures of it")],
    word: Annotated[str, typer.Option(help="an ordinary word or phrase with a similar meaning; without one, base.encoder finds the start")] = "",
    kind: Annotated[str, typer.Option(help="object or style")] = "object",
    source: Source = "",
    licence: Licence = "",
    consent: Consent = "",
    undeclared: Undeclared = "",
) -> None:
    """Add a concept: copy its pictures, put them under DVC, and write params.yaml."""
    with one_line_errors():
        from tasks.using.add import add_concept

        rights = Rights(source=source, licence=licence, consent=consent, undeclared=undeclared)
        add_concept(name, pictures, word or FROM_PICTURES, kind, load_settings(), rights)
        console.print(f"added {name} as <{name}>; next: wordmint build {name}")


@app.command("list")
def list_concepts(as_json: AsJson = False) -> None:
    """List what is registered."""
    with one_line_errors():
        rows = registered_rows(load_settings())
        if as_json:
            print(json.dumps(rows, indent=2))
            return
        table = Table("concept", "word", "version", "alias", *SCORES)
        for row in rows:
            table.add_row(*(f"{value:.3f}" if isinstance(value, float) else "-" if value is None else str(value) for value in row.values()))
        console.print(table)


def registered_rows(settings: Settings) -> list[dict[str, Any]]:
    """Return the registry's rows, or none where nothing was registered yet and so no database exists."""
    from tasks.registry import connection, reading

    uri = tracking_uri(settings)
    if not connection.exists(uri):
        return []
    connection.connect(uri)
    return reading.catalog()


@app.command()
def show(name: Name, as_json: AsJson = False) -> None:
    """Show everything about one concept: settings, pictures, training, scores, versions."""
    with one_line_errors():
        settings = load_settings()
        facts: dict[str, Any] = {"concept": name, **settings.concept(name).model_dump(exclude_none=True)}
        for title, path in (
            ("pictures", artifacts.manifest(name)),
            ("training", artifacts.train_record(name)),
            ("scores", artifacts.scores(name)),
            ("registered", artifacts.registered(name)),
        ):
            facts[title] = artifacts.read_json_if_there(path)
        if as_json:
            print(json.dumps(facts, indent=2))
            return
        print_facts(facts)


def print_facts(facts: dict[str, Any]) -> None:
    """Print the facts of one concept as a table."""
    table = Table(show_header=False, box=None)
    for key in ("concept", "kind", "placeholder_token", "initializer_token"):
        table.add_row(key, str(facts[key]))
    if pictures := facts["pictures"]:
        for entry in pictures["pictures"]:
            table.add_row(entry["source"], "kept" if entry["kept"] else f"dropped: {entry['reason']}")
    if training := facts["training"]:
        steps = f"{training['optimizer_steps']} optimizer steps, {training['seconds']:.0f} s, stopped by {training['stopped']}"
        table.add_row("training", f"none: imported from {facts['source']['file']}" if "source" in facts else steps)
        table.add_row("norm", f"{training['norm']:.2f} (vocabulary median {training['vocabulary_norm_median']:.2f})")
    if scores := facts["scores"]:
        for score in measured(scores):
            bound = "prompt_only" if score == "editability" else "image_only"
            table.add_row(score, f"{interval(scores[score])}, {bound} {scores[score][bound]:.3f}")
        if scores.get("diversity"):
            table.add_row("diversity", f"{scores['diversity']['value']:.3f}, training pictures {scores['diversity']['training']:.3f}")
        if "copies" in scores:
            table.add_row("copies", f"{scores['copies']:.0%} of the pictures of the prompts for editing")
    record = facts["registered"]
    table.add_row("registered", f"{record['name']} v{record['version']} {' '.join(record['aliases'])}" if record else "not yet")
    console.print(table)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Say what is stale and why."""
    with one_line_errors():
        settings = load_settings()
        from tasks.pipeline import repository

        with repository.open_repo() as repo:
            stale = repository.stale_now(repo, list(settings.concepts))
        if as_json:
            print(json.dumps(stale, indent=2))
        elif not settings.concepts:
            console.print(f"no concepts yet; add one with `{HOW_TO_ADD}`", soft_wrap=True)
        elif not stale:
            console.print("every concept is up to date")
        else:
            reasons_of: dict[str, list[str]] = {}  # `stale` has the stages of a concept one after the other
            for name, reasons in stale.items():
                stage, _, concept = name.partition("@")
                reasons_of.setdefault(concept, []).extend([f"{stage}: {', '.join(reasons)}"] if reasons != ["never built"] else [])
            for concept, texts in reasons_of.items():
                console.print(Text(concept, style="bold"), f" {'; '.join(texts) or 'never built'}", soft_wrap=True)


for commands in (catalog.app, versions.app, lineage.app, words.app, pictures.app, people.app, sharing.app, schedule.app, serving.app):
    app.add_typer(commands)  # without a name the commands are not nested


def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    gc.set_threshold(50_000, 20, 20)  # imported objects stay alive; at Python's threshold of 700 a third of the import time is spent scanning them
    with swift_end():
        app()


if __name__ == "__main__":
    main()
