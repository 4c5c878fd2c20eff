"""invert: the curated pictures become a learned embedding; of an imported word its file does."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks import artifacts
from tasks.diffusion.base_model import BaseModel, load_base_model
from tasks.inversion.pivotal import tune
from tasks.inversion.textual_inversion import Word
from tasks.inversion.training import train_words
from tasks.pipeline.door import run_stage
from tasks.settings import Settings
from tasks.training.result import adopt, how_it_ended, write_learned
from tasks.training.start import prepare, rounds, training_record


@task(cache_policy=NO_CACHE)
def invert(
    concepts: Sequence[str],
    settings: Settings,
    on_step: Callable[[Word], object] = lambda word: None,
    on_end: Callable[[str, Exception | None], object] = lambda concept, error: None,
) -> None:
    """Find the embeddings of many concepts, as many at once as a batch holds; `on_end` hears of each that is written, or failed."""
    base = load_base_model(settings.base.model, settings.base.revision, settings.runtime.device)
    failed: list[str] = []

    def end(concept: str, error: Exception | None) -> None:
        failed.extend([concept] if error else [])
        on_end(concept, error)

    for company in rounds(concepts, settings):
        invert_together(company, settings, base, failed, on_step, end)


def invert_together(
    concepts: Sequence[str],
    settings: Settings,
    base: BaseModel,
    failed: Sequence[str],
    on_step: Callable[[Word], object],
    on_end: Callable[[str, Exception | None], object],
) -> None:
    """Find the embeddings of concepts none of which starts as another of them; `failed` are those that failed before."""
    words, records, checkpoints = [], {}, {}
    for concept in concepts:
        imported = settings.concept(concept).source is not None
        try:
            if imported:
                adopt(concept, settings, base)
            else:
                words.append(prepare(concept, settings, base, failed))
        except Exception as error:
            on_end(concept, error)
            continue
        if imported:
            on_end(concept, None)
            continue
        records[concept] = training_record(concept, settings, base)
        digest = hashlib.sha256(json.dumps(records[concept], sort_keys=True).encode()).hexdigest()
        checkpoints[concept] = artifacts.checkpoints() / f"{concept}-{digest[:16]}.pt"
    every = settings.runtime.checkpoint_every

    def write(word: Word, lora: bytes | None = None) -> None:
        how = {"method": settings.inversion(word.concept).method, **how_it_ended(word)}
        write_learned(word.concept, word.learned.cpu(), how, records[word.concept], base, lora)
        on_end(word.concept, None)
        checkpoints[word.concept].unlink(missing_ok=True)

    def end(word: Word) -> None:
        if word.error:
            on_end(word.concept, FloatingPointError(word.error))
        elif word.tuning is None:
            write(word)

    if words:
        train_words(base, words, list(checkpoints.values()), every, settings.runtime.concepts_per_batch, on_step, end)
    for word in [word for word in words if word.tuning and not word.error]:  # alone: the others share the denoiser as it was
        place = checkpoints[word.concept].with_suffix(".lora.pt")
        try:
            lora = tune(base, word, place, every, on_step)
        except FloatingPointError as error:
            on_end(word.concept, error)
            continue
        write(word, lora)
        place.unlink(missing_ok=True)


def invert_one(concept: str, settings: Settings) -> Path:
    """Find the embedding of one concept and return the path of learned_embeds.safetensors.

    Raises:
        FloatingPointError: the loss became NaN or infinite; the last checkpoint is kept.
    """

    def end(concept: str, error: Exception | None) -> None:
        if error:
            raise error

    invert.fn([concept], settings, on_end=end)
    return artifacts.learned_embeds(concept)


if __name__ == "__main__":
    run_stage(invert_one)
