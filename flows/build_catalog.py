"""The scheduled job, the main job: every stale concept, start to finish."""

import time
from dataclasses import dataclass, field

from prefect import Task, flow, get_run_logger

from flows.progress import counted, stage_bar
from tasks import artifacts, registry, versioning
from tasks.catalog import STAGES
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


class BuildFailed(RuntimeError):
    """Some concepts failed; the others are built."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__("; ".join(f"{concept} failed: {error}" for concept, error in outcome.failed.items()))
        self.outcome = outcome


@flow(name="build-catalog")
def build_catalog(concepts: list[str] | None = None) -> Outcome:
    """Curate, invert, sample, score and register every stale concept.

    A concept that fails leaves the others alone; the flow goes on and fails at its end, naming it.

    Raises:
        ValueError: params.yaml is not valid, or a concept is not in it.
        BuildFailed: concepts failed.
    """
    settings, outcome = load_settings(), Outcome()
    chosen = list(settings.concepts) if concepts is None else concepts
    for concept in chosen:
        settings.concept(concept)
    with versioning.open_repo() as repo:
        versioning.fetch_images(repo, chosen)
        if not registry.exists(tracking_uri(settings)):
            for concept in chosen:  # what a lost or fresh registry does not have is not registered, whatever DVC's cache remembers
                artifacts.registered(concept).unlink(missing_ok=True)
        stale = [concept for concept in chosen if versioning.stale(repo, [concept], STAGES)]
        if stale:
            with device_lock(settings.runtime.device):
                build_concepts(repo, stale, settings, outcome)
        if versioning.why(repo, "report"):
            with versioning.recording(repo, "report"):
                report(settings)
    if outcome.failed:
        raise BuildFailed(outcome)
    return outcome


def build_concepts(repo: versioning.Repo, concepts: list[str], settings: Settings, outcome: Outcome) -> None:
    """Build concepts one after the other and note in `outcome` what ran, what failed and how long it took."""
    stages = load_stages()
    for concept in counted(concepts):
        started = time.monotonic()
        try:
            outcome.ran[concept] = build_concept(repo, concept, settings, stages)
        except Exception as error:
            outcome.failed[concept] = str(error)
            get_run_logger().error("%s failed", concept, exc_info=True)
        outcome.seconds[concept] = time.monotonic() - started


def build_concept(repo: versioning.Repo, concept: str, settings: Settings, stages: dict[str, Task]) -> list[str]:
    """Run the stale stages of one concept in the graph's order, record each in DVC, and return their names."""
    ran = []
    for name, stage in stages.items():
        if not versioning.why(repo, f"{name}@{concept}"):
            continue
        with versioning.recording(repo, f"{name}@{concept}"), stage_bar(concept, name, settings) as on_step:
            stage(concept, settings, *((on_step,) if name in ("invert", "sample") else ()))
        ran.append(name)
    return ran
