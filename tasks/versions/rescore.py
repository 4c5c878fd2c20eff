"""Sample and score a published version again with the present scorer and prompts; nothing is trained."""

import os
import tempfile
from pathlib import Path
from typing import Any

from tasks import artifacts
from tasks.diffusion.base_model import load_base_model
from tasks.drawing.samples import draw
from tasks.judging.judge import judge
from tasks.judging.sheets import draw_published
from tasks.registry import connection, lifecycle, publishing, reading
from tasks.registry.connection import tracking_uri
from tasks.registry.promotion import evidence, headline, measured
from tasks.settings import Settings


def rescore(concept: str, settings: Settings, version: int | None = None) -> dict[str, Any]:
    """Score a version, by default the champion, as a build would today, and return {version, scores}.

    The challenger, if any, is then compared again; `register.promote` says whether that can move the champion.

    Raises:
        ValueError: there is no such version, it was learned on another base, its stored bytes changed, or there are no curated pictures.
    """
    connection.connect(tracking_uri(settings))
    reading.refuse_revoked(concept)
    aliases = reading.aliases(concept)
    number = aliases.get(reading.CHAMPION) if version is None else lifecycle.existing_version(concept, version)
    if number is None:
        raise ValueError(f"concept {concept!r} has no champion; build it with `wordmint build {concept}`, or name a version with --version")
    embedding, tags = reading.fetch(concept, number)
    base = load_base_model(*settings.base_model)
    if (learned_on := tags["base_weights_sha256"]) != (present := base.identity["weights_sha256"]):
        raise ValueError(
            f"{concept} v{number} was learned on base {learned_on[:12]}, but base.model {settings.base.model!r} is {present:.12}, where its word "
            f'has no meaning; set base.model back, or replace the version without a comparison: `wordmint promote {concept} --accept "REASON"`'
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
        draw_published(concept, samples, word.placeholder_token, sheets)
        scored_on = artifacts.folder_digest(artifacts.curated(concept), "*.png")
        new_tags = evidence(scores, artifacts.read_json(samples / "samples.json"), tags.get("pictures_sha256", ""), scored_on)
        publishing.rescored(concept, number, new_tags, headline(scores), sheets)
    challenger = aliases.get(reading.CHALLENGER)
    if challenger is not None:
        lifecycle.settle(concept, challenger, settings.register)
    return {"version": number, "scores": {name: scores[name] for name in measured(scores)}}
