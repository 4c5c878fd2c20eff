"""The data side of a team's catalog: what Git only names goes to and comes from DVC's default remote."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks import artifacts, registry, versioning
from tasks.catalog import STAGES, keep_record
from tasks.report import report
from tasks.settings import Settings, tracking_uri


@dataclass(frozen=True)
class Pulled:
    """What a pull did, and what a build would still do."""

    fetched: int
    """Files that were not on this machine."""
    restored: list[str]
    """`stage@concept` that dvc.lock does not have and the run-cache had."""
    stale: dict[str, list[str]]
    """`stage@concept` -> why."""


def push(settings: Settings) -> None:
    """Send pictures as they are now, and results and the run-cache as they were recorded.

    Raises:
        ValueError: there is no remote to send to, or something could not be sent.
    """
    with versioning.open_repo() as repo:
        versioning.track_inputs(repo, list(settings.concepts))
        versioning.send(repo)


def pull(settings: Settings) -> Pulled:
    """Bring what Git names, and what anybody built from the same pictures and settings, so that nobody computes it again.

    Raises:
        ValueError: there is no remote, it lacks something, or an unrecorded file is in the way.
    """
    concepts = list(settings.concepts)
    with versioning.open_repo() as repo:
        fetched = versioning.receive(repo, concepts)
        restored = [name for name in versioning.stale(repo, concepts, STAGES) if versioning.restore(repo, name, pull=True)]
        if registry.exists(tracking_uri(settings)):
            registry.connect(tracking_uri(settings))
            refresh_records(concepts)
        stale = versioning.stale(repo, concepts, STAGES)
        if not stale and versioning.why(repo, "report"):
            with versioning.recording(repo, "report"):
                report.fn(settings)
    return Pulled(fetched, restored, stale)


def refresh_records(concepts: Sequence[str]) -> None:
    """Bring the records under data/ whose aliases moved since they were written in line with the registry."""
    held: dict[str, list[str]] = {}
    for row in registry.catalog():
        held.setdefault(f"{row['concept']} v{row['version']}", []).append(row["alias"])
    for concept in concepts:
        path = artifacts.registered(concept)
        if path.exists():
            record = artifacts.read_json(path)
            if record["aliases"] != held.get(f"{concept} v{record['version']}", []):
                keep_record(concept)
