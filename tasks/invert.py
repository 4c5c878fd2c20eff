"""invert: the curated pictures become a learned embedding; of an imported word its file does."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks import artifacts
from tasks.diffusion.base_model import load_base_model
from tasks.pipeline.door import run_stage
from tasks.settings import Settings
from tasks.training.company import Inverted, invert_together
from tasks.training.start import rounds


@task(cache_policy=NO_CACHE)
def invert(concepts: Sequence[str], settings: Settings) -> Iterator[Inverted]:
    """Find the embeddings of many concepts, as many at once as a batch holds, and yield each when it is written or has failed."""
    base = load_base_model(settings.base.model, settings.base.revision, settings.runtime.device)
    failed: set[str] = set()
    for company in rounds(concepts, settings):
        for ended in invert_together(company, settings, base, failed):
            failed |= {ended.concept} if ended.error else set()
            yield ended


def invert_one(concept: str, settings: Settings) -> Path:
    """Find the embedding of one concept and return the path of learned_embeds.safetensors.

    Raises:
        FloatingPointError: the loss became NaN or infinite; the last checkpoint is kept.
    """
    for ended in invert.fn([concept], settings):
        if ended.error:
            raise ended.error
    return artifacts.learned_embeds(concept)


if __name__ == "__main__":
    run_stage(invert_one)
