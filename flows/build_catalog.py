"""The scheduled job, the main job: every stale concept, start to finish."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from prefect import Task, flow, get_run_logger

from flows.progress import counted, stage_bar
from tasks import artifacts, fingerprints, registry, versioning
from tasks.catalog import STAGES, keep_record
from tasks.report import report
from tasks.settings import Settings, load_settings, tracking_uri
from tasks.stage import device_lock


def load_stages() -> dict[str, Task]:
    """Import the stages in the graph's order: torch and diffusers take many seconds, and finding nothing to do needs neither."""
    from tasks.curate import curate
    from tasks.invert import invert
    from tasks.register import register
    from tasks.sample import sample
    from tasks.score import score

    return {"curate": curate, "invert": invert, "sample": sample, "score": score, "register": register}


@dataclass
class Outcome:
    """What a build did."""

    ran: dict[str, list[str]] = field(default_factory=dict)
    """concept -> the stages that ran."""
    seconds: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    """concept -> its error."""
    revoked: dict[str, str] = field(default_factory=dict)
    """concept -> why; stale, and left as it is."""


class BuildFailed(RuntimeError):
    """Some concepts failed; the others are built."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__("; ".join(f"{concept} failed: {error}" for concept, error in outcome.failed.items()))
        self.outcome = outcome


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
    forget_unregistered(fingerprints.changed(fingerprints.fingerprints_of(chosen)) if filled else chosen, settings)
    changed = fingerprints.changed(fingerprints.fingerprints_of(chosen))
    with versioning.open_repo() as repo:
        versioning.fetch_inputs(repo, changed)
        stale = stale_ones(repo, changed)
        outcome.revoked = revoked_ones(stale, settings)
        stale = [concept for concept in stale if concept not in outcome.revoked]
        if stale:
            with device_lock(settings.runtime.device):
                build_concepts(repo, stale, settings, outcome)
        build_report(repo, settings)
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


def build_concepts(repo: versioning.Repo, concepts: list[str], settings: Settings, outcome: Outcome) -> None:
    """Build concepts and note in `outcome` what ran, what failed and how long it took.

    The words are trained in company; every other stage takes one concept after the other.
    """
    stages = load_stages()
    with counted(concepts) as done:
        for concept in concepts:
            build_stages(repo, concept, settings, {"curate": stages["curate"]}, outcome)
        invert_stale(repo, [concept for concept in concepts if concept not in outcome.failed], settings, stages["invert"], outcome)
        for concept in concepts:
            build_stages(repo, concept, settings, {name: stages[name] for name in ("sample", "score", "register")}, outcome)
            done()


def build_stages(repo: versioning.Repo, concept: str, settings: Settings, stages: dict[str, Task], outcome: Outcome) -> None:
    """Run the stale ones of some stages of one concept and record each in DVC; a concept that failed before is left alone."""
    if concept in outcome.failed:
        return
    with accounted(outcome, concept):
        for name, stage in stages.items():
            if versioning.why(repo, f"{name}@{concept}"):
                with versioning.recording(repo, f"{name}@{concept}"), stage_bar([concept], name, settings) as on_step:
                    stage(concept, settings, *((on_step,) if name == "sample" else ()))
                outcome.ran.setdefault(concept, []).append(name)


def invert_stale(repo: versioning.Repo, concepts: list[str], settings: Settings, invert: Task, outcome: Outcome) -> None:
    """Train the stale words among some concepts and record each in DVC as soon as it is written."""
    before = {concept: versioning.snapshot(repo, name) for concept in concepts if versioning.why(repo, name := f"invert@{concept}")}
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


@contextmanager
def accounted(outcome: Outcome, concept: str) -> Iterator[None]:
    """Add the block's time to a concept's, and note its error instead of raising it."""
    started = time.monotonic()
    try:
        yield
    except Exception as error:
        outcome.failed[concept] = str(error)
        get_run_logger().error("%s failed", concept, exc_info=True)
    finally:
        outcome.seconds[concept] = outcome.seconds.get(concept, 0.0) + time.monotonic() - started
