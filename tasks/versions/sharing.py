"""The data of a team's catalog: push and pull the files that Git only names, through DVC's default remote."""

from dataclasses import dataclass

from tasks.drawing.redrawing import redraw
from tasks.faults import point
from tasks.pipeline import fingerprints, receiving, repository, sending, storage
from tasks.registry import connection
from tasks.registry.connection import tracking_uri
from tasks.settings import Settings
from tasks.versions.records import refresh_records


@dataclass(frozen=True)
class Pulled:
    """The result of a pull, and what a build would still do."""

    fetched: int
    """Files that were not on this machine."""
    restored: list[str]
    """Each `stage@concept` that dvc.lock did not have and the run-cache had."""
    stale: dict[str, list[str]]
    """`stage@concept` -> why."""


def push(settings: Settings, every_file: bool = False) -> None:
    """Send pictures as they are now, and results and the run-cache as they were recorded.

    every_file: look for files that the remote has lost, too; see `sending.send`.

    Raises:
        ValueError: there is no default remote, or something could not be sent.
    """
    with repository.open_repo() as repo:
        storage.track_inputs(repo, list(settings.concepts))
        point("pictures tracked, nothing sent")
        sending.send(repo, every_file)


def pull(settings: Settings) -> Pulled:
    """Fetch the files that Git names, and the results that anybody built from the same pictures and settings.

    Raises:
        ValueError: there is no default remote, it lacks something, or an unrecorded file is in the way.
    """
    concepts = list(settings.concepts)
    with repository.open_repo() as repo:
        fetched = receiving.receive(repo, concepts)
        point("files fetched, nothing restored")
        restored = [name for name in repository.stale_now(repo, concepts) if repository.restore(repo, name, pull=True)]
        if connection.exists(tracking_uri(settings)):
            connection.connect(tracking_uri(settings))
            refresh_records(concepts)
        repo.flush()  # a fingerprint has what dvc.lock has
        stale = repository.stale_now(repo, concepts)
        if not stale:
            redraw(repo, settings, fingerprints.fingerprints_of(concepts), pull=True)
    return Pulled(fetched, restored, stale)
