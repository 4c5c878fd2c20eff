"""Building a batch of concepts in this process: the stages of each concept, and all words in one training."""

import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

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


def load_stages() -> dict[str, Task]:
    """Import the stages in the graph's order; here, because torch and diffusers take many seconds and an up-to-date catalog needs neither."""
    from tasks.curate import curate
    from tasks.invert import invert
    from tasks.register import register
    from tasks.sample import sample
    from tasks.score import score

    # A training is not retried: what stopped it would stop it again.
    return {stage.fn.__name__: stage if stage is invert else stage.with_options(**RETRIES) for stage in (curate, invert, sample, score, register)}


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
    stages = {name: stage for name, stage in load_stages().items() if name in names}
    with device_slot(settings.runtime.device), counted(concepts) as done, ThreadPoolExecutor(1) as background:
        if "register" in stages:
            # Creating a database takes a second, which the words' training hides.
            background.submit(connection.connect, tracking_uri(settings)).add_done_callback(warn_of_a_failure)
            track(repo, concepts, outcome)
        for concept in concepts:
            build_stages(repo, concept, settings, {"curate": stages["curate"]}, outcome)
        invert_stale(repo, [concept for concept in concepts if concept not in outcome.failed], settings, stages["invert"], outcome)
        for concept in concepts:
            build_stages(repo, concept, settings, {name: stage for name, stage in stages.items() if name not in ("curate", "invert")}, outcome)
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


def build_stages(repo: repository.Repo, concept: str, settings: Settings, stages: dict[str, Task], outcome: Outcome) -> None:
    """Run the stale ones among `stages` for one concept and record each in DVC; a concept that failed before is skipped."""
    if concept in outcome.failed:
        return
    with accounted(outcome, concept):
        for name, stage in stages.items():
            if repository.why(repo, f"{name}@{concept}") and not restored(repo, name, concept, outcome):
                with repository.recording(repo, f"{name}@{concept}"), stage_bars(name, [concept]):
                    stage(concept, quote(settings))  # or Prefect would look for futures in every concept of the catalog
                outcome.ran.setdefault(concept, []).append(name)


def restored(repo: repository.Repo, stage: str, concept: str, outcome: Outcome) -> bool:
    """Restore the result that a stage had with these inputs before, and tell whether there was one.

    A registration is never restored: its result lies in MLflow, which DVC cannot check.
    """
    if stage == "register" or not repository.restore(repo, f"{stage}@{concept}"):
        return False
    outcome.restored.setdefault(concept, []).append(stage)
    return True


def invert_stale(repo: repository.Repo, concepts: list[str], settings: Settings, invert: Task, outcome: Outcome) -> None:
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
            for concept, error in invert(list(snapshots), quote(settings)):
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
