"""Keep the records under data/registered in line with the registry's aliases."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tasks import artifacts
from tasks.artifacts import check_concept_key
from tasks.faults import point
from tasks.pipeline import repository
from tasks.registry import connection, reading
from tasks.registry.connection import tracking_uri
from tasks.settings import Settings, load_settings


@contextmanager
def in_registry(concept: str, changes: bool = True) -> Iterator[Settings]:
    """Connect to the registry for one concept; after the block, bring its record under data/ in line with the registry.

    changes: whether the block may move an alias.

    Raises:
        ValueError: the key is not valid, or nothing was registered yet.
    """
    settings = load_settings()
    check_concept_key(concept)  # it becomes part of a filter
    uri = tracking_uri(settings)
    if not connection.exists(uri):
        raise ValueError(f"concept {concept!r} has no versions: nothing was registered yet; build it with `wordmint build {concept}`")
    connection.connect(uri)
    try:
        yield settings
    finally:
        if changes:
            keep_record(concept)


def keep_record(concept: str) -> None:
    """Write the present aliases of a concept's version into its record under data/, and record it with DVC if it was up to date.

    A concept that this machine never registered has no record and is left alone.
    """
    path = artifacts.registered(concept)
    if not path.exists():
        return
    before = artifacts.read_json(path)
    record = {key: before[key] for key in ("name", "version", "digest")} | reading.standing(concept, before["version"])
    stage = f"register@{concept}"
    with repository.open_repo() as repo:
        stale = repository.why(repo, stage) if concept in load_settings().concepts else ["not in the catalog"]
        torn = stale == [f"{path} modified"]  # by a command that was killed before DVC recorded what it had written
        if record == before and not torn:
            return
        if stale and not torn:  # the next build writes the record anyway
            artifacts.write_json(path, record)
        else:
            with repository.recording(repo, stage):
                artifacts.write_json(path, record)
                point("version's record written, DVC has the old one")


def refresh_records(concepts: Sequence[str]) -> None:
    """Rewrite the records under data/ whose aliases moved since they were written."""
    aliases: dict[str, list[str]] = {}
    for row in reading.catalog():
        aliases.setdefault(f"{row['concept']} v{row['version']}", []).append(row["alias"])
    for concept in concepts:
        path = artifacts.registered(concept)
        if path.exists():
            record = artifacts.read_json(path)
            if record["aliases"] != aliases.get(f"{concept} v{record['version']}", []):
                keep_record(concept)
