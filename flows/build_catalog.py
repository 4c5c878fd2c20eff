"""The scheduled job, the main job: every stale concept, start to finish."""

import logging
from collections.abc import Sequence

from prefect import flow

from flows import freshness, watching, workers
from flows.batches import build_concepts
from flows.outcome import BuildFailed, Outcome, show, show_samples
from tasks.drawing.redrawing import redraw
from tasks.pipeline import fingerprints, receiving, repository
from tasks.pipeline.catalog_repo import CatalogRepo
from tasks.pipeline.device import catalog_turn
from tasks.settings import load_settings

log = logging.getLogger(__name__)


@flow(name="build-catalog")
def build_catalog(concepts: list[str] | None = None) -> Outcome:
    """Curate, invert, sample, score and register every stale concept.

    A concept that fails does not stop the others; the flow fails at its end and names it. A revoked concept is skipped. Another build of this
    catalog has to end first.

    Raises:
        ValueError: params.yaml is not valid, or a concept is not in it.
        BuildFailed: concepts failed.
    """
    with catalog_turn():
        outcome = build_stale(concepts)
    if outcome.failed:
        raise BuildFailed(outcome)
    return outcome


def build_stale(concepts: list[str] | None) -> Outcome:
    """Build the stale ones among these concepts, or among all, and draw the report anew."""
    settings, outcome = load_settings(), Outcome()
    chosen = settings.chosen(concepts)
    if settings.runtime.task_runner == "workers":
        workers.wait_for_earlier()
    with repository.open_repo() as repo:  # which first records what a killed build left
        current = fingerprints.fingerprints_of(list(settings.concepts))
        suspects = freshness.suspects(chosen, current, settings)
        receiving.fetch_inputs(repo, suspects)
        stale = list(dict.fromkeys(name.partition("@")[2] for name in repository.stale_among(repo, suspects, current)))
        outcome.revoked = freshness.revoked_concepts(stale, settings)
        stale = [concept for concept in stale if concept not in outcome.revoked]
        watching.begin(stale)
        if stale and settings.runtime.task_runner == "threads":
            build_concepts(repo, stale, settings, outcome)
        elif stale:
            workers.build_elsewhere(stale, settings, outcome)
        show(outcome, chosen)
        show_samples(outcome)
        repo.flush()
        end(repo, current, suspects, stale, outcome)
        watching.tell("end")
    return outcome


def end(repo: CatalogRepo, current: dict[str, str], suspects: Sequence[str], stale: Sequence[str], outcome: Outcome) -> None:
    """Remember what was built and draw the report anew. A person may have changed params.yaml meanwhile: what it lacks now is no failure."""
    try:
        settings, fresh = load_settings(), current | fingerprints.fingerprints_of(suspects)  # the others were not touched
    except ValueError as error:
        log.warning("the report was not drawn anew, since params.yaml was changed during the build and is not valid: %s", error)
        return
    outcome.failed = {concept: error for concept, error in outcome.failed.items() if concept in settings.concepts}
    now = {concept: digest for concept, digest in fresh.items() if concept in settings.concepts}
    # The next build then finds these as they are now.
    repository.stale_among(repo, [concept for concept in stale if concept in now and concept not in outcome.failed], now)
    redraw(repo, settings, now)
