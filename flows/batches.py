"""Building a batch of concepts in this process: the stages of each concept, and all words in one training."""

import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from importlib import import_module

from prefect import Task, flow, task
from prefect.cache_policies import NO_CACHE
from prefect.utilities.annotations import quote

from flows import watching
from flows.device_slot import device_slot
from flows.outcome import BuildFailed, Outcome, accounted, show
from flows.progress import counted, stage_bars
from tasks.concepts.rights import read_rights
from tasks.pipeline import receiving, repository, sending, storage
from tasks.pipeline.graph import STAGES
from tasks.pipeline.transient import transient
from tasks.registry import connection
from tasks.registry.connection import tracking_uri
from tasks.settings import Settings, load_settings

log = logging.getLogger(__name__)
RETRIES = {"retries": 2, "retry_delay_seconds": [5, 20], "retry_condition_fn": transient}


@cache
def load_stage(name: str) -> Task:
    """Import a stage when it is needed: torch and diffusers take many seconds, and a registration needs neither."""
    stage: Task = getattr(import_module(f"tasks.{name}"), name)
    # A training is not retried: what stopped it would stop it again.
    return stage if name == "invert" else stage.with_options(**RETRIES)


@flow(name="build-batch")
def build_batch(concepts: list[str], push: bool = False) -> Outcome:
    """Build a batch of concepts in the catalog of this process, as a worker does.

    push: send the results to the DVC remote; needed where the worker's catalog is a clone.

    Raises:
        ValueError: params.yaml is not valid, or a concept is not in it.
        BuildFailed: concepts failed.
    """
    settings, outcome = load_settings(), Outcome()
    settings.chosen(concepts)
    with repository.open_repo() as repo:
        receiving.fetch_inputs(repo, concepts)
        build_concepts(repo, concepts, settings, outcome)
        built = [concept for concept in concepts if concept not in outcome.failed]
        if push and built:
            push_results(repo, [f"{stage}@{concept}" for concept in built for stage in STAGES])
    show(outcome, concepts)
    if outcome.failed:
        raise BuildFailed(outcome)
    return outcome


@task(cache_policy=NO_CACHE, retries=3, retry_delay_seconds=[5, 20, 60])
def push_results(repo: repository.CatalogRepo, names: Sequence[str]) -> None:
    """Send the results of stages, and the run-cache, to the DVC remote."""
    sending.send_results(repo, names)


def build_concepts(repo: repository.Repo, concepts: list[str], settings: Settings, outcome: Outcome, names: Sequence[str] = STAGES) -> None:
    """Build concepts through the stages of these names and note in `outcome` what ran, what failed and how long it took.

    The words are trained together; every other stage takes one concept after the other.
    """
    with device_slot(settings.runtime.device), counted(concepts) as done, ThreadPoolExecutor(1) as background:
        if "register" in names:
            # Creating a database takes a second, which the words' training hides.
            background.submit(connection.connect, tracking_uri(settings)).add_done_callback(warn_of_a_failure)
            track(repo, concepts, outcome)
        for concept in concepts:
            build_stages(repo, concept, settings, ("curate",), outcome)
        invert_stale(repo, [concept for concept in concepts if concept not in outcome.failed], settings, outcome)
        for concept in concepts:
            build_stages(repo, concept, settings, [name for name in names if name not in ("curate", "invert")], outcome)
            if concept not in outcome.failed:
                watching.tell("built", concept=concept)
            done()


def warn_of_a_failure(connected: Future) -> None:
    """Warn early that MLflow cannot be used; registering tries again, and each concept fails if that fails too."""
    if error := connected.exception():
        log.warning("%s; registering will try again when the words are trained", error)


def track(repo: repository.Repo, concepts: list[str], outcome: Outcome) -> None:
    """Put the pictures of concepts under DVC and fail those without declared rights, before an hour of training instead of after it."""
    for concept in concepts:
        with accounted(outcome, concept):
            read_rights(concept)
    declared = [concept for concept in concepts if concept not in outcome.failed]
    try:
        storage.track_inputs(repo, declared)
    except Exception:  # one by one, so that only the concepts at fault fail
        for concept in declared:
            with accounted(outcome, concept):
                storage.track_inputs(repo, [concept])


def build_stages(repo: repository.Repo, concept: str, settings: Settings, names: Sequence[str], outcome: Outcome) -> None:
    """Run the stale ones among the stages of these names for one concept and record each in DVC; a concept that failed before is skipped."""
    if concept in outcome.failed:
        return
    with accounted(outcome, concept):
        for name in names:
            if repository.why(repo, f"{name}@{concept}") and not restored(repo, name, concept, outcome):
                with repository.recording(repo, f"{name}@{concept}"), stage_bars(name, [concept]):
                    load_stage(name)(concept, quote(settings))  # or Prefect would look for futures in every concept of the catalog
                outcome.ran.setdefault(concept, []).append(name)


def restored(repo: repository.Repo, stage: str, concept: str, outcome: Outcome) -> bool:
    """Restore the result that a stage had with these inputs before, and tell whether there was one.

    A registration is never restored: its result lies in MLflow, which DVC cannot check.
    """
    if stage == "register" or not repository.restore(repo, f"{stage}@{concept}"):
        return False
    outcome.restored.setdefault(concept, []).append(stage)
    return True


def invert_stale(repo: repository.Repo, concepts: list[str], settings: Settings, outcome: Outcome) -> None:
    """Train the stale words among `concepts` and record each in DVC as soon as it is written."""
    snapshots = {}
    for concept in concepts:
        with accounted(outcome, concept):
            if repository.why(repo, name := f"invert@{concept}") and not restored(repo, "invert", concept, outcome):
                snapshots[concept] = repository.snapshot(repo, name)
    if not snapshots:
        return

    started = time.monotonic()
    with stage_bars("invert", list(snapshots)):
        try:
            for concept, error in load_stage("invert")(list(snapshots), quote(settings)):
                with accounted(outcome, concept):
                    if error:
                        raise error
                    repository.record(repo, f"invert@{concept}", snapshots[concept])
                    outcome.ran.setdefault(concept, []).append("invert")
        except Exception as error:  # the whole batch failed, such as for a missing base model
            for concept in snapshots:
                if concept not in outcome.failed and "invert" not in outcome.ran.get(concept, []):
                    with accounted(outcome, concept):
                        raise error
    for concept in snapshots:
        outcome.seconds[concept] += (time.monotonic() - started) / len(snapshots)
