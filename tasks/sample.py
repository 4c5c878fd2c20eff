"""sample: draw the prompts of a word's suite with the word, and without it for comparison."""

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks import artifacts
from tasks.drawing.samples import draw
from tasks.pipeline.door import run_stage
from tasks.settings import Settings


@task(task_run_name="sample-{concept}", cache_policy=NO_CACHE)
def sample(concept: str, settings: Settings) -> Path:
    """Generate the pictures of one concept and return the path of samples.json."""
    draw(concept, artifacts.learned_embeds(concept), artifacts.samples(concept), settings)
    return artifacts.samples_record(concept)


if __name__ == "__main__":
    run_stage(sample.fn)
