"""Sending batches of concepts to the workers of a Prefect work pool, which prefect.yaml declares, or to a Ray cluster."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any

from prefect import get_client, get_run_logger, task
from prefect.automations import Automation
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.deployments import run_deployment
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound
from prefect.futures import PrefectFuture, as_completed

from flows import watching
from flows.batches import build_batch, build_stages
from flows.outcome import BuildFailed, Outcome, accounted, row, rows_of
from flows.progress import counted
from tasks.pipeline import receiving, repository
from tasks.pipeline.graph import STAGES
from tasks.settings import Runtime, Settings

DEPLOYMENT = "build-batch/worker"
SILENCE = timedelta(seconds=90)  # a batch that is silent for longer counts as lost; prefect.yaml sets a heartbeat every 30 s
UNFINISHED = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
POLL = 5  # seconds


class WorkerLost(RuntimeError):
    """A worker or its machine disappeared in the middle of a batch."""


def build_elsewhere(concepts: list[str], settings: Settings, outcome: Outcome) -> None:
    """Have workers build concepts in batches, and take over their results where their catalog is not this one."""
    with counted(concepts) as done:
        for batch, rows in built(concepts, settings.runtime):
            for row in rows:
                outcome.add(row)
            with repository.open_repo() as repo:  # opened anew, because workers have written dvc.lock
                take_over(repo, [concept for concept in batch if concept not in outcome.failed], settings, outcome)
            for concept in batch:  # a worker with a clone has told it there
                tell_end(concept, outcome)
                done()


def tell_end(concept: str, outcome: Outcome) -> None:
    """Tell whoever watches the build how it ended for a concept."""
    if concept in outcome.failed:
        watching.tell("failed", concept=concept, error=outcome.failed[concept])
    else:
        watching.tell("built", concept=concept)


def take_over(repo: repository.Repo, concepts: list[str], settings: Settings, outcome: Outcome) -> None:
    """Record here the results that workers built from the same inputs and pushed."""
    stale = repository.stale(repo, concepts)
    if stale:
        receiving.fetch_runs(repo)
    for concept in dict.fromkeys(name.partition("@")[2] for name in stale):
        with accounted(outcome, concept):
            for stage in STAGES[:-1]:
                if repository.why(repo, name := f"{stage}@{concept}") and not repository.restore(repo, name, pull=True):
                    raise ValueError(
                        f"{name} is stale here after a worker built it: the worker's clone has other inputs or does not push; see docs/operations.md"
                    )
        build_stages(repo, concept, settings, ("register",), outcome)


def built(concepts: Sequence[str], runtime: Runtime) -> Iterator[tuple[list[str], list[dict[str, Any]]]]:
    """Send concepts to workers in batches; yield each batch when it has ended, with the rows of its table.

    Each worker takes one batch after the other, so a slow worker holds up no other. The batch of a lost worker goes to another one.
    """
    size = runtime.concepts_per_task
    batches = [list(concepts[start : start + size]) for start in range(0, len(concepts), size)]
    with on_ray(runtime) if runtime.task_runner == "ray" else nullcontext(send.submit) as submit:
        sent = {submit(batch): batch for batch in batches}
        for future in as_completed(list(sent)):
            batch = sent[future]
            try:
                rows = future.result()
            except Exception as error:  # a worker that is lost for good, a server that is away: the other batches go on
                rows = failed_rows(batch, f"{type(error).__name__}: {error}")
            yield batch, rows


def failed_rows(concepts: Sequence[str], error: str) -> list[dict[str, Any]]:
    """Return rows for concepts that are in no table of their build."""
    return [{"concept": concept, "ran": "", "restored": "", "error": error} for concept in concepts]


@task(
    task_run_name="batch-of-{concepts[0]}",
    cache_policy=NO_CACHE,
    retries=2,
    retry_condition_fn=lambda task, run, state: isinstance(state.result(raise_on_failure=False), WorkerLost),
)
def send(concepts: list[str]) -> list[dict[str, Any]]:
    """Have a worker build a batch and return the rows of its table; a batch whose worker is lost is sent again."""
    run = run_deployment(DEPLOYMENT, parameters={"concepts": concepts}, poll_interval=POLL)
    message = f"batch {run.name!r} ended {run.state.name}: {run.state.message}"
    if run.state.is_crashed():
        raise WorkerLost(message)
    rows = rows_of(run.id)
    reported = {row["concept"] for row in rows}
    return rows + failed_rows([concept for concept in concepts if concept not in reported], message)


@contextmanager
def on_ray(runtime: Runtime) -> Iterator[Callable[[list[str]], PrefectFuture]]:
    """Connect to the Ray cluster at RAY_ADDRESS, or start one on this machine, and yield the function that submits a batch to it.

    A batch holds one GPU where the cluster has any. Ray itself restarts the batch of a lost process.

    Raises:
        ValueError: Ray is not installed.
    """
    try:
        import ray
        from prefect_ray import RayTaskRunner
        from prefect_ray.context import remote_options
    except ImportError:
        raise ValueError("runtime.task_runner is ray, which is not installed; install the extra distributed, as docs/operations.md says") from None
    with RayTaskRunner(init_kwargs={"include_dashboard": False}) as runner:
        gpus = 1 if runtime.device != "cpu" and ray.cluster_resources().get("GPU") else 0
        with remote_options(num_gpus=gpus):
            yield lambda concepts: runner.submit(build_in, {"catalog": os.getcwd(), "concepts": concepts})


@task(task_run_name="batch-of-{concepts[0]}", cache_policy=NO_CACHE)
def build_in(catalog: str, concepts: list[str]) -> list[dict[str, Any]]:
    """Build a batch in the catalog of this folder and return the rows of its table."""
    os.chdir(catalog)  # Ray chooses the working directory of its processes
    try:
        outcome = build_batch(concepts)
    except BuildFailed as error:
        outcome = error.outcome
    return [row(outcome, concept) for concept in concepts]


def wait_for_earlier() -> None:
    """Wait for the batches of an earlier build that was killed, so that none is sent twice; lost batches do not hold this up.

    Raises:
        ValueError: the Prefect server has no such deployment.
    """
    with get_client(sync_client=True) as client:
        try:
            deployment = client.read_deployment_by_name(DEPLOYMENT)
        except ObjectNotFound as error:
            raise ValueError(
                f"runtime.task_runner is workers, but the Prefect server has no deployment {DEPLOYMENT}; run `prefect --no-prompt deploy --all`"
            ) from error
        notice_lost_batches(str(deployment.id))
        of_deployment = DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id]))
        unfinished = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=UNFINISHED)))
        while runs := client.read_flow_runs(deployment_filter=of_deployment, flow_run_filter=unfinished):
            get_run_logger().info("waiting for %d batches of an earlier build", len(runs))
            time.sleep(POLL)


def notice_lost_batches(deployment: str) -> None:
    """Have the server mark a silent batch as crashed; a worker whose machine disappeared cannot report it."""
    name = f"wordmint: batches of {deployment} that fall silent have crashed"
    try:
        Automation.read(name=name)
        return
    except ValueError:  # there is none
        pass
    final_events = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")}
    Automation(
        name=name,
        trigger=EventTrigger(
            after={"prefect.flow-run.Pending", "prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.heartbeat", *final_events},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            match_related=ResourceSpecification({"prefect.resource.id": [f"prefect.deployment.{deployment}"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=SILENCE,
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message=f"no sign of life for {SILENCE.seconds} s")],
    ).create()
