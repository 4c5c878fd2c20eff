"""invert: train a word's embedding on the curated pictures, or take an imported word's from its file."""

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
    base = load_base_model(*settings.base_model)
    failed: set[str] = set()
    for independent in rounds(concepts, settings):
        for inverted in invert_together(independent, settings, base, failed):
            failed |= {inverted.concept} if inverted.error else set()
            yield inverted


def invert_one(concept: str, settings: Settings) -> Path:
    """Find the embedding of one concept and return the path of learned_embeds.safetensors.

    Raises:
        FloatingPointError: the loss became NaN or infinite; the last checkpoint is kept.
    """
    for inverted in invert.fn([concept], settings):
        if inverted.error:
            raise inverted.error
    return artifacts.learned_embeds(concept)


if __name__ == "__main__":
    run_stage(invert_one)
