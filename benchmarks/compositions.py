"""Two tuned words in a prompt, and one beside an apple, against the same words untuned: `python -m benchmarks.compositions [--json]`.

After `make catalog`. The same words at strength 0 are the peer. A thing is found by CLIP as `wordmint compose` finds it.
"""

from collections.abc import Sequence
from itertools import combinations
from statistics import fmean
from typing import Annotated

import typer
from torch import Tensor

from benchmarks.result import Row, show
from tasks import artifacts
from tasks.diffusion.base_model import load_base_model
from tasks.diffusion.ddim import generate
from tasks.judging.judge import features_of
from tasks.settings import load_settings
from tasks.similarity.scorer import load_scorer
from tasks.similarity.scores import shown
from tasks.using.compose import own_samples
from tasks.words.learned import read_learned, taught

APPLE = "a photo of a {} and an apple"
STRENGTHS = {"tuned": "<{}>", "plain": "<{}:0>"}


def main(
    pictures: Annotated[int, typer.Option(help="pictures of each prompt")] = 12,
    steps: Annotated[int, typer.Option(help="sampling steps of a picture")] = 25,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Compare tuned words with untuned ones."""
    settings = load_settings()
    base = load_base_model(*settings.base_model)
    scorer = load_scorer(settings.scorer.model, settings.scorer.pretrained, settings.runtime.device)
    learned = {concept: read_learned(artifacts.learned_embeds(concept)) for concept in settings.concepts}
    tuned = [concept for concept, word in learned.items() if word.adapter and settings.concept(concept).kind == "object"]
    own = {concept: features_of(concept, own_samples(concept, settings), scorer) for concept in tuned}
    training = {concept: features_of(concept, artifacts.curated(concept), scorer) for concept in tuned}

    def draw(prompt: str, concepts: Sequence[str]) -> Tensor:
        seeds = list(range(pictures))
        with taught(base, [learned[concept] for concept in concepts]) as words:
            drawn = list(generate(base, [prompt] * pictures, seeds, words, steps, settings.sample.look(base.look)[1], pictures))
        return scorer.image_features(drawn)

    both: dict[str, list[float]] = {kind: [] for kind in STRENGTHS}
    beside: dict[str, list[float]] = {kind: [] for kind in STRENGTHS}
    confidence = settings.score.confidence
    for kind, word in STRENGTHS.items():
        for one, other in combinations(tuned, 2):
            features = draw(f"a photo of a {word.format(one)} and a {word.format(other)}", (one, other))
            found = shown(features, own[other], training[one], confidence) & shown(features, own[one], training[other], confidence)
            both[kind].append(float(found.float().mean()))
        for concept in tuned:
            apples = features_of(concept, artifacts.samples(concept) / "prompt_only" / artifacts.prompt_slug(APPLE), scorer)
            found = shown(draw(APPLE.format(word.format(concept)), [concept]), own[concept], apples, confidence)
            beside[kind].append(float(found.float().mean()))
    rows = [
        Row(f"both things of a pair, {len(both['tuned'])} pairs", fmean(both["tuned"]), fmean(both["plain"]), "share of pictures"),
        Row(f"the apple beside a word, {len(tuned)} words", fmean(beside["tuned"]), fmean(beside["plain"]), "share of pictures"),
    ]
    show("compositions", rows, "strength 0", as_json)


if __name__ == "__main__":
    typer.run(main)
