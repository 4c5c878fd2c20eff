"""What a build did, and the table and the pictures with which Prefect shows it."""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from uuid import UUID

from prefect import get_client, get_run_logger
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

from flows import watching
from tasks import artifacts
from tasks.drawing.strips import strip
from tasks.pipeline.blockers import explained
from tasks.pipeline.graph import STAGES
from tasks.registry.promotion import measured

MOST_BYTES = 200_000
"""The largest page of pictures of a run; Prefect's database keeps every one."""


@dataclass
class Outcome:
    """What a build did."""

    ran: dict[str, list[str]] = field(default_factory=dict)
    """concept -> the stages that ran."""
    restored: dict[str, list[str]] = field(default_factory=dict)
    """concept -> the stages whose results DVC restored, since they had run on the same inputs before, here or elsewhere."""
    seconds: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    """concept -> its error."""
    revoked: dict[str, str] = field(default_factory=dict)
    """stale concept that was not built -> why it is revoked."""

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row of another build's table."""
        concept = row["concept"]
        for by_concept, stages in ((self.ran, row["ran"]), (self.restored, row["restored"])):
            if stages:
                by_concept[concept] = stages.split(", ")
        self.seconds[concept] = row.get("seconds", 0.0)
        if "error" in row:
            self.failed[concept] = row["error"]


class BuildFailed(RuntimeError):
    """Some concepts failed; the others are built."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__("; ".join(f"{concept} failed: {error}" for concept, error in outcome.failed.items()))
        self.outcome = outcome


@contextmanager
def accounted(outcome: Outcome, concept: str) -> Iterator[None]:
    """Add the block's time to the concept's seconds, and keep its error in `outcome` instead of raising it."""
    started = monotonic()
    try:
        yield
    except Exception as error:
        outcome.failed[concept] = explained(error)
        watching.tell("failed", concept=concept, error=outcome.failed[concept])
        get_run_logger().error("%s failed", concept, exc_info=True)
    finally:
        outcome.seconds[concept] = outcome.seconds.get(concept, 0.0) + monotonic() - started


def show(outcome: Outcome, concepts: Sequence[str]) -> None:
    """Publish the run's table in Prefect; the up-to-date concepts share one row, since there may be thousands."""
    touched = [concept for concept in concepts if concept in outcome.seconds or concept in outcome.failed or concept in outcome.revoked]
    rows = [row(outcome, concept) for concept in touched]
    if len(touched) < len(concepts):
        rows.append({"concept": f"{len(concepts) - len(touched)} others", "skipped": "up to date"})
    create_table_artifact(rows, key="build")


def show_samples(outcome: Outcome) -> None:
    """Publish small samples of the concepts that were built, with as many as MOST_BYTES hold; those that another machine keeps are left out."""
    built = [concept for concept in outcome.seconds if concept not in outcome.failed and (concept in outcome.ran or concept in outcome.restored)]
    strips = ((concept, data) for concept in built if (data := strip(artifacts.samples(concept))))
    parts, size = list[str](), 0
    for concept, data in strips:
        part = f"`{concept}`\n\n![samples of {concept}](data:image/webp;base64,{base64.b64encode(data).decode()})"
        size += len(part)
        if size > MOST_BYTES:
            parts.append("The pictures of the others are in the report.")
            break
        parts.append(part)
    if parts:
        create_markdown_artifact("\n\n".join(parts), key="samples", description="the first sample of each prompt")


def row(outcome: Outcome, concept: str) -> dict[str, Any]:
    """Return {concept, ran, restored, skipped, each score, seconds, version, error}; unknown values are left out."""
    ran, restored = outcome.ran.get(concept, []), outcome.restored.get(concept, [])
    cells: dict[str, Any] = {"concept": concept, "ran": ", ".join(ran), "restored": ", ".join(restored)}
    up_to_date = [stage for stage in STAGES if stage not in ran + restored]
    if concept in outcome.revoked:
        cells["skipped"] = f"revoked: {outcome.revoked[concept]}"
    elif concept in outcome.failed:
        cells |= {"skipped": "not reached, or up to date", "error": outcome.failed[concept]}
    elif up_to_date:
        cells["skipped"] = f"{', '.join(up_to_date)}: up to date"
    if concept not in outcome.failed and artifacts.scores(concept).exists() and artifacts.registered(concept).exists():
        scores = artifacts.read_json(artifacts.scores(concept))
        cells |= {name: scores[name]["value"] for name in measured(scores)}
        cells["version"] = artifacts.read_json(artifacts.registered(concept))["version"]
    return cells | ({"seconds": round(outcome.seconds[concept], 1)} if concept in outcome.seconds else {})


def rows_of(flow_run: UUID) -> list[dict[str, Any]]:
    """Return the rows of another run's table, or none where it left no table."""
    with get_client(sync_client=True) as client:
        artifacts_of_run = client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run])))
    return [row for artifact in artifacts_of_run if artifact.key == "build" for row in json.loads(str(artifact.data))]
