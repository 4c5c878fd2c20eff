"""The scheduled job, the main job: every stale concept, start to finish."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from prefect import Task, flow, get_run_logger

from flows import workers
from flows.device_slot import device_slot
from flows.outcome import BuildFailed, Outcome, accounted, show
from flows.progress import counted, stage_bar
from tasks import artifacts, fingerprints, registry, versioning
from tasks.catalog import STAGES, keep_record
from tasks.report import report
from tasks.rights import read_rights
from tasks.settings import Settings, load_settings, tracking_uri
from tasks.stage import transient

RETRIES = {"retries": 2, "retry_delay_seconds": [5, 20], "retry_condition_fn": transient}


def load_stages() -> dict[str, Task]:
    """Import the stages in the graph's order: torch and diffusers take many seconds, and finding nothing to do needs neither."""
    from tasks.curate import curate
    from tasks.invert import invert
    from tasks.register import register
    from tasks.sample import sample
    from tasks.score import score

    # A training is not tried again: what stopped it would stop it again.
    return {stage.fn.__name__: stage if stage is invert else stage.with_options(**RETRIES) for stage in (curate, invert, sample, score, register)}


@flow(name="build-catalog")
def build_catalog(concepts: list[str] | None = None) -> Outcome:
    """Curate, invert, sample, score and register every stale concept.

    A concept that fails leaves the others alone; the flow goes on and fails at its end, naming it. A revoked one is skipped.

    Raises:
        ValueError: params.yaml is not valid, or a concept is not in it.
        BuildFailed: concepts failed.
    """
    settings, outcome = load_settings(), Outcome()
    chosen = list(settings.concepts) if concepts is None else concepts
    for concept in chosen:
        settings.concept(concept)
    filled = registry.exists(tracking_uri(settings))
    # A registry that is new lacks all, not only what is built now.
    forget_unregistered(fingerprints.changed(fingerprints.fingerprints_of(chosen)) if filled else list(settings.concepts), settings)
    if settings.runtime.task_runner == "workers":
        workers.wait_for_earlier()
    changed = fingerprints.changed(fingerprints.fingerprints_of(chosen))
    with versioning.open_repo() as repo:
        versioning.fetch_inputs(repo, changed)
        stale = stale_ones(repo, changed)
        outcome.revoked = revoked_ones(stale, settings)
        stale = [concept for concept in stale if concept not in outcome.revoked]
        if stale and settings.runtime.task_runner != "threads":
            build_elsewhere(stale, settings, outcome)
        elif stale:
            build_concepts(repo, stale, settings, outcome)
        show(outcome, chosen)
        build_report(repo, settings)
    if outcome.failed:
        raise BuildFailed(outcome)
    return outcome


@flow(name="build-batch")
def build_batch(concepts: list[str], push: bool = False) -> Outcome:
    """Build concepts in the catalog that this process runs in: what a worker does with a batch.

    push: bring the results to the DVC remote, for a catalog that is a clone of the one where the batch was made up.

    Raises:
        ValueError: params.yaml is not valid, or a concept is not in it.
        BuildFailed: concepts failed.
    """
    settings, outcome = load_settings(), Outcome()
    for concept in concepts:
        settings.concept(concept)
    with versioning.open_repo() as repo:
        versioning.fetch_inputs(repo, concepts)
        build_concepts(repo, concepts, settings, outcome)
        built = [concept for concept in concepts if concept not in outcome.failed]
        if push and built:
            workers.push(repo, [f"{stage}@{concept}" for concept in built for stage in STAGES])
    show(outcome, concepts)
    if outcome.failed:
        raise BuildFailed(outcome)
    return outcome


def forget_unregistered(concepts: list[str], settings: Settings) -> None:
    """Delete the records of versions that the registry does not have: another or a fresh one is to be filled, whatever DVC remembers."""
    records = {concept: artifacts.read_json(artifacts.registered(concept)) for concept in concepts if artifacts.registered(concept).exists()}
    known: set[tuple[str, int, str]] = set()
    if records and registry.exists(tracking_uri(settings)):
        registry.connect(tracking_uri(settings))
        known = {(version.name, int(version.version), version.tags["digest"]) for version in registry.minted(f"name LIKE '{registry.PREFIX}%'")}
    for concept, record in records.items():
        if (record["name"], record["version"], record["digest"]) not in known:
            artifacts.registered(concept).unlink()


def stale_ones(repo: versioning.Repo, concepts: list[str]) -> list[str]:
    """Ask DVC which concepts are stale; what is up to date is remembered as it was before the question."""
    before = fingerprints.fingerprints_of(concepts)
    stale = [concept for concept in concepts if versioning.stale(repo, [concept], STAGES)]
    fingerprints.remember({concept: before[concept] for concept in concepts if concept not in stale})
    return stale


def revoked_ones(concepts: list[str], settings: Settings) -> dict[str, str]:
    """Ask the registry which of some concepts are revoked and why; that the shared one knows is enough."""
    if not concepts or not registry.exists(tracking_uri(settings)):
        return {}
    registry.connect(tracking_uri(settings))
    revoked = registry.revoked()
    for concept in (skipped := [concept for concept in concepts if concept in revoked]):
        get_run_logger().warning("%s is revoked and skipped: %s", concept, revoked[concept])
        keep_record(concept)
    return {concept: revoked[concept] for concept in skipped}


def build_report(repo: versioning.Repo, settings: Settings) -> None:
    """Write the page if what it shows changed."""
    before = fingerprints.report_fingerprint(fingerprints.fingerprints_of(list(settings.concepts)))
    if not fingerprints.changed(before):
        return
    if versioning.why(repo, "report"):
        with versioning.recording(repo, "report"):
            report(settings)
    else:
        fingerprints.remember(before)


def build_concepts(repo: versioning.Repo, concepts: list[str], settings: Settings, outcome: Outcome, names: Sequence[str] = STAGES) -> None:
    """Build concepts through the stages of these names and note in `outcome` what ran, what failed and how long it took.

    The words are trained in company; every other stage takes one concept after the other.
    """
    stages = {name: stage for name, stage in load_stages().items() if name in names}
    with device_slot(settings.runtime.device), counted(concepts) as done, ThreadPoolExecutor(1) as beside:
        if "register" in stages:
            # A new database takes a second, which the words' training hides; what fails here fails again where it is told.
            beside.submit(registry.connect, tracking_uri(settings))
            track(repo, concepts, outcome)
        for concept in concepts:
            build_stages(repo, concept, settings, {"curate": stages["curate"]}, outcome)
        invert_stale(repo, [concept for concept in concepts if concept not in outcome.failed], settings, stages["invert"], outcome)
        for concept in concepts:
            build_stages(repo, concept, settings, {name: stage for name, stage in stages.items() if name not in ("curate", "invert")}, outcome)
            done()


def track(repo: versioning.Repo, concepts: list[str], outcome: Outcome) -> None:
    """Record the pictures of concepts whose rights are declared; better now than after an hour of training."""
    for concept in concepts:
        with accounted(outcome, concept):
            read_rights(concept)
    declared = [concept for concept in concepts if concept not in outcome.failed]
    try:
        versioning.track_inputs(repo, declared)
    except Exception:  # whose fault it is, each tells of itself
        for concept in declared:
            with accounted(outcome, concept):
                versioning.track_inputs(repo, [concept])


def build_elsewhere(concepts: list[str], settings: Settings, outcome: Outcome) -> None:
    """Have others build concepts in batches, and take over what they made where their catalog is not this one."""
    with counted(concepts) as done:
        for batch, rows in workers.built(concepts, settings.runtime):
            for row in rows:
                outcome.add(row)
            with versioning.open_repo() as repo:  # opened anew, for others have written dvc.lock
                take_over(repo, [concept for concept in batch if concept not in outcome.failed], settings, outcome)
            for _ in batch:
                done()


def take_over(repo: versioning.Repo, concepts: list[str], settings: Settings, outcome: Outcome) -> None:
    """Record here what others built of the very same inputs and pushed."""
    away = versioning.stale(repo, concepts, STAGES)
    if away:
        versioning.fetch_runs(repo)
    for concept in dict.fromkeys(name.partition("@")[2] for name in away):
        with accounted(outcome, concept):
            for stage in STAGES[:-1]:
                if versioning.why(repo, name := f"{stage}@{concept}") and not versioning.restore(repo, name, pull=True):
                    raise ValueError(
                        f"{name} is stale here after a worker built it: its clone has other inputs, or does not push; see docs/operations.md"
                    )
        build_stages(repo, concept, settings, {"register": load_stages()["register"]}, outcome)


def build_stages(repo: versioning.Repo, concept: str, settings: Settings, stages: dict[str, Task], outcome: Outcome) -> None:
    """Run the stale ones of some stages of one concept and record each in DVC; a concept that failed before is left alone."""
    if concept in outcome.failed:
        return
    with accounted(outcome, concept):
        for name, stage in stages.items():
            if versioning.why(repo, f"{name}@{concept}") and not restored(repo, name, concept, outcome):
                with versioning.recording(repo, f"{name}@{concept}"), stage_bar([concept], name, settings) as on_step:
                    stage(concept, settings, *((on_step,) if name == "sample" else ()))
                outcome.ran.setdefault(concept, []).append(name)


def restored(repo: versioning.Repo, stage: str, concept: str, outcome: Outcome) -> bool:
    """Bring back what a stage made of these inputs before, and tell whether it did; what is registered lies in MLflow and is never assumed."""
    if stage == "register" or not versioning.restore(repo, f"{stage}@{concept}"):
        return False
    outcome.restored.setdefault(concept, []).append(stage)
    return True


def invert_stale(repo: versioning.Repo, concepts: list[str], settings: Settings, invert: Task, outcome: Outcome) -> None:
    """Train the stale words among some concepts and record each in DVC as soon as it is written."""
    before = {}
    for concept in concepts:
        with accounted(outcome, concept):
            if versioning.why(repo, name := f"invert@{concept}") and not restored(repo, "invert", concept, outcome):
                before[concept] = versioning.snapshot(repo, name)
    if not before:
        return

    def end(concept: str, error: Exception | None) -> None:
        with accounted(outcome, concept):
            if error:
                raise error
            versioning.record(repo, f"invert@{concept}", before[concept])
            outcome.ran.setdefault(concept, []).append("invert")

    started = time.monotonic()
    with stage_bar(list(before), "invert", settings) as on_step:
        try:
            invert(list(before), settings, on_step, end)
        except Exception as error:  # of the batch as a whole, such as a base model that is not there
            for concept in before:
                if concept not in outcome.failed and "invert" not in outcome.ran.get(concept, []):
                    end(concept, error)
    for concept in before:
        outcome.seconds[concept] += (time.monotonic() - started) / len(before)
