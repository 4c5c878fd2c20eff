"""The study of the methods, `make study`: every cell is a concept of a catalog below data/study/, built by the usual stages."""

import contextlib
from pathlib import Path
from typing import Annotated

import typer
from prefect import flow
from rich.console import Console

from flows.batches import build_concepts
from flows.outcome import BuildFailed, Outcome
from flows.progress import progress
from tasks import artifacts
from tasks.pipeline import receiving, repository
from tasks.pipeline.door import one_line_errors
from tasks.registry.connection import tracking_uri
from tasks.settings import load_settings
from tasks.study.cells import PLAN, STAGES, Cell, Plan, cells_of, impossible, lay_out, load_plan

console = Console()
RESULTS = "results.json"  # the numbers that the page shows


@flow(name="study")
def study(quick: bool = False) -> Outcome:
    """Train, sample and score every stale cell, log each as an MLflow run, and write the page.

    Raises:
        ValueError: the plan is not valid, or names a concept or pictures that are missing.
        BuildFailed: cells failed; the others are kept, and the page does not change.
    """
    from tasks.diffusion.base_model import base_family

    plan, settings, outcome = load_plan(quick), load_settings(), Outcome()
    with repository.open_repo() as repo:
        receiving.fetch(repo, [artifacts.larger(thing) for thing in plan.things])
    left_out = impossible(plan, base_family(settings.base.model, settings.base.revision), settings.base.encoder)
    cells = [cell for cell in cells_of(plan) if cell.kind not in ("setup", "guided") or cell.setup not in left_out]
    folder, uri, stale = page_folder(quick).absolute(), tracking_uri(settings), []
    parts = {
        catalog_folder(quick): [cell for cell in cells if cell.kind != "guided"],
        catalog_folder(quick, guided=True): [cell for cell in cells if cell.kind == "guided"],
    }
    parts = {root: part for root, part in parts.items() if part}
    for root, part in parts.items():
        lay_out(part, plan, settings, root, cache=catalog_folder(quick))
        with contextlib.chdir(root), repository.open_repo() as repo:
            stale_keys = [cell.key for cell in part if repository.stale(repo, [cell.key], STAGES)]
            if stale_keys:
                build_concepts(repo, stale_keys, load_settings(), outcome, STAGES)
            stale += stale_keys
    if outcome.failed:
        raise BuildFailed(outcome)
    if stale or not written(folder, plan):
        publish(folder, plan, parts, uri, f"make study{' QUICK=1' if quick else ''}")
    return outcome


def catalog_folder(quick: bool, guided: bool = False) -> Path:
    """Return the folder of a study's catalog."""
    return artifacts.DATA / "study" / f"{'quick' if quick else 'full'}{'-guided' if guided else ''}"


def page_folder(quick: bool) -> Path:
    """Return the folder of the study's page; a quick study does not replace the published one."""
    return catalog_folder(quick) / "page" if quick else PLAN.parent


def written(folder: Path, plan: Plan) -> bool:
    """Say whether the page is of this plan."""
    return (folder / RESULTS).exists() and artifacts.read_json(folder / RESULTS).get("plan") == plan.model_dump(mode="json")


def publish(folder: Path, plan: Plan, parts: dict[Path, list[Cell]], uri: str, command: str) -> None:
    """Write the page and its numbers, and log the cells that are not logged yet."""
    from tasks.registry import connection
    from tasks.registry.study_runs import log_cells
    from tasks.study.comparisons import Result
    from tasks.study.page import write
    from tasks.study.results import results
    from tasks.study.rivals import measure

    found: list[Result] = []
    for root, part in parts.items():
        with contextlib.chdir(root):
            found += results(part, load_settings())
    with contextlib.chdir(next(iter(parts))):
        settings = load_settings()
        found += measure(plan, settings)
        write(folder, plan, found, settings.sample.prompts.object, command)
    numbers = {Cell(result.kind, result.setup, result.concept, result.seed).name: result.numbers() for result in found}
    artifacts.write_json(folder / RESULTS, {"plan": plan.model_dump(mode="json"), "cells": numbers})
    connection.connect(uri)
    log_cells(numbers)


def main(quick: Annotated[bool, typer.Option(help="a smaller plan of a few minutes")] = False) -> None:
    """Compare the methods and decide the paper's claims."""
    with one_line_errors():
        try:
            with progress(console):
                outcome = study(quick)
        except BuildFailed as error:
            raise ValueError(str(error)) from error
    console.print(f"{len(outcome.ran) or 'no'} cells ran: {page_folder(quick) / 'README.md'}", soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
