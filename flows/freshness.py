"""Which concepts a build has to look at: stale ones, revoked ones, and those that the registry lost."""

from collections.abc import Mapping, Sequence

from prefect import get_run_logger

from tasks import artifacts
from tasks.pipeline import fingerprints
from tasks.registry import connection, reading
from tasks.registry.connection import tracking_uri
from tasks.settings import Settings
from tasks.versions.records import keep_record


def suspects(chosen: Sequence[str], current: Mapping[str, str], settings: Settings) -> list[str]:
    """Return the chosen concepts that DVC has to check: those that changed since it found them up to date, and those that the registry lost.

    current: the fingerprints of all concepts. A new registry lacks every concept, not only the chosen ones.
    """
    changed = fingerprints.changed({concept: current[concept] for concept in chosen})
    filled = connection.exists(tracking_uri(settings))
    lost = forget_unregistered(changed if filled else list(settings.concepts), settings)
    suspected = lost.union(changed)
    return [concept for concept in chosen if concept in suspected]


def forget_unregistered(concepts: Sequence[str], settings: Settings) -> set[str]:
    """Delete the records of versions that the registry does not have, so that DVC registers them again, and return their concepts."""
    records = {concept: record for concept in concepts if (record := artifacts.read_json_if_there(artifacts.registered(concept)))}
    registered: set[tuple[str, int, str]] = set()
    if records and connection.exists(tracking_uri(settings)):
        connection.connect(tracking_uri(settings))
        registered = {(version.name, int(version.version), version.tags["digest"]) for version in reading.minted_of(list(records))}
    lost = {concept for concept, record in records.items() if (record["name"], record["version"], record["digest"]) not in registered}
    for concept in lost:
        artifacts.registered(concept).unlink()
    return lost


def revoked_concepts(concepts: Sequence[str], settings: Settings) -> dict[str, str]:
    """Return why each revoked concept among `concepts` is revoked, by the registry; this machine need not have seen the revocation."""
    if not concepts or not connection.exists(tracking_uri(settings)):
        return {}
    connection.connect(tracking_uri(settings))
    revoked = reading.revoked(concepts)
    for concept in (skipped := [concept for concept in concepts if concept in revoked]):
        get_run_logger().warning("%s is revoked and skipped: %s", concept, revoked[concept])
        keep_record(concept)
    return {concept: revoked[concept] for concept in skipped}
