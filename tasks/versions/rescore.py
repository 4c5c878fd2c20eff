"""rescore: a published version is sampled and scored again with the present scorer and prompts; nothing is trained."""

import os
import tempfile
from pathlib import Path
from typing import Any

from tasks import artifacts
from tasks.diffusion.base_model import load_base_model
from tasks.drawing.samples import draw
from tasks.judging.judge import headline, judge
from tasks.judging.sheets import draw_sheets
from tasks.registry import connection, lifecycle, publishing, reading
from tasks.registry.connection import tracking_uri
from tasks.registry.promotion import evidence
from tasks.settings import Settings


def rescore(concept: str, settings: Settings, version: int | None = None) -> dict[str, Any]:
    """Score a version, the champion when none is named, as a build would today, and return {version, scores}.

    A waiting challenger is then weighed again; `register.promote` says whether that can move the champion.

    Raises:
        ValueError: there is no such version, it was learned on another base, its stored bytes changed, or no pictures are curated.
    """
    connection.connect(tracking_uri(settings))
    reading.refuse_revoked(concept)
    held = reading.aliases(concept)
    number = held.get(reading.CHAMPION) if version is None else lifecycle.known(concept, version)
    if number is None:
        raise ValueError(f"concept {concept!r} has no champion; build it with `wordmint build {concept}`, or name a version with --version")
    embedding, tags = reading.fetch(concept, number)
    base = load_base_model(settings.base.model, settings.base.revision, settings.runtime.device)
    if (learned_on := tags["base_weights_sha256"]) != (present := base.identity["weights_sha256"]):
        raise ValueError(
            f"{concept} v{number} was learned on base {learned_on[:12]}, but base.model {settings.base.model!r} is {present:.12}, where its word "
            f'means nothing; give params.yaml the old base again, or replace it uncompared with `wordmint promote {concept} --accept "REASON"`'
        )
    if not any(artifacts.curated(concept).glob("*.png")):
        raise ValueError(f"{artifacts.curated(concept)} has no pictures to score against; run `wordmint build {concept}` or `dvc pull` first")
    # The version's own word: params.yaml may have given the concept another one since.
    word = settings.concept(concept).model_copy(update={key: tags[key] for key in ("placeholder_token", "initializer_token")})
    settings = settings.model_copy(update={"concepts": {**settings.concepts, concept: word}})
    artifacts.CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".rescore-", suffix=f".{os.getpid()}.tmp", dir=artifacts.CACHE) as folder:
        samples, sheets = Path(folder) / "samples", Path(folder) / "sheets"
        draw(concept, embedding, samples, settings)
        scores = judge(concept, samples, settings)
        sheets.mkdir()
        draw_sheets(samples, sheets)
        scored_on = artifacts.folder_digest(artifacts.curated(concept), "*.png")
        found = evidence(scores, artifacts.read_json(samples / "samples.json"), tags.get("pictures_sha256", ""), scored_on)
        publishing.rescored(concept, number, found, headline(scores), sheets)
    challenger = held.get(reading.CHALLENGER)
    if challenger is not None:
        lifecycle.settle(concept, challenger, settings.register.promote)
    return {"version": number, "scores": {name: scores[name] for name in ("reconstruction", "editability")}}
