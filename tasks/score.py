"""score: measure how faithful a word is to its pictures and how well it obeys prompts, between two bounds."""

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks import artifacts
from tasks.judging.judge import judge
from tasks.pipeline.door import run_stage
from tasks.settings import Settings


@task(task_run_name="score-{concept}", cache_policy=NO_CACHE)
def score(concept: str, settings: Settings) -> Path:
    """Score the samples of one concept and return the path of its scores."""
    artifacts.write_json(artifacts.scores(concept), judge(concept, artifacts.samples(concept), settings))
    return artifacts.scores(concept)


if __name__ == "__main__":
    run_stage(score.fn)
