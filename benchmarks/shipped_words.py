"""The quality of the words of the built catalog: `python -m benchmarks.shipped_words [--art FOLDER] [--json]`, after `make catalog`."""

from statistics import fmean
from typing import Annotated

import numpy as np
import torch
import typer

from benchmarks.base_model import ArtFolder
from benchmarks.result import Row, show
from tasks import artifacts
from tasks.concepts.stand_ins import without_word
from tasks.judging.judge import read_features
from tasks.pretraining import art
from tasks.pretraining.examples import SETS
from tasks.pretraining.nouns import ALL_NOUNS, HELD_OUT
from tasks.pretraining.world import Sample, World
from tasks.settings import Settings, load_settings
from tasks.similarity.scorer import Scorer, load_scorer
from tasks.similarity.scores import bootstrap, editability, reconstruction

CONTENTS = {
    "a photo of a {} on the moon": ((), "one", "moon", "photo"),
    "a photo of a {} on the beach": ((), "one", "beach", "photo"),
    "an oil painting of a {}": ((), "one", "plain", "oil"),
    "a photo of a {} and an apple": (("apple",), "and", "plain", "photo"),
}
"""Prompt -> what its pictures show besides the word: other things, layout, scene and medium, as in `Sample`."""


def composite_editability(settings: Settings, scorer: Scorer, world: World, concept: str) -> float:
    """Return the editability of a perfect word: that of real composites which show the thing as the prompts say."""
    _, *edits = settings.prompts(concept)
    rng, count, scores = np.random.default_rng(settings.sample.seed), settings.sample.pictures_per_prompt, []
    for prompt in edits:
        others, layout, scene, medium = CONTENTS[prompt]
        nouns = tuple(ALL_NOUNS.index(noun) for noun in (concept, *others))
        sample = Sample(nouns, (None,) * len(nouns), layout, scene, medium, prompt)
        features = scorer.image_features([world.render(rng, sample, SETS[concept][0]) for _ in range(count)])
        scores.append(editability(features, scorer.text_features([without_word(prompt)])[0]))
    return fmean(scores)


def judge_objects(settings: Settings, scorer: Scorer, world: World) -> list[Row]:
    """Compare held-out objects with their bounds, on average; objects whose pictures all show a scene are left out."""
    shown = {concept: pictures for concept, (_, pictures) in SETS.items() if concept in settings.concepts}
    objects = [concept for concept, pictures in shown.items() if concept in HELD_OUT and any(scene == "plain" for _, scene in pictures)]
    scores = [artifacts.read_json(artifacts.scores(concept)) for concept in objects]
    faithful, editable = [score["reconstruction"] for score in scores], [score["editability"] for score in scores]
    over = ", ".join(objects)
    prompt_only = fmean(score["prompt_only"] for score in editable)
    kept = fmean(score["value"] for score in editable) / prompt_only
    possible = fmean(composite_editability(settings, scorer, world, concept) for concept in objects) / prompt_only
    return [
        Row(f"reconstruction / Image-Only, {over}", fmean(s["value"] for s in faithful) / fmean(s["image_only"] for s in faithful), 0.92, "share"),
        Row("reconstruction minus the coarse words'", fmean(s["value"] - s["coarse_word"] for s in faithful), 0.08, "cosine"),
        Row(f"editability / Prompt-Only, {over}", kept, 0.88, "share"),
        Row("the same, real composites of these things as the mark", kept, possible, "share"),
    ]


def judge_styles(settings: Settings, scorer: Scorer) -> list[Row]:
    """Compare the likeness of unseen things to the style's pictures, with the word and without it."""
    rules, rows = settings.score, []
    for concept in [name for name, chosen in settings.concepts.items() if chosen.kind == "style"]:
        edits = artifacts.read_json(artifacts.samples_record(concept))["prompts"][1:]
        training = read_features(scorer, artifacts.curated(concept))
        word, plain = (
            bootstrap(
                lambda groups: reconstruction(torch.cat(groups), training),  # noqa: B023, called before the loop goes on
                [read_features(scorer, artifacts.samples(concept) / kind / entry["slug"]) for entry in edits],
                rules.bootstrap_samples,
                rules.confidence,
                rules.seed,
            )
            for kind in ("word", "prompt_only")
        )
        rows.append(Row(f"{concept}: style of unseen things, plain versions as the mark", word.value, plain.value, "cosine"))
        rows.append(Row(f"{concept}: low end with the word, high end without", word.low, plain.high, "cosine"))
    return rows


def main(art_folder: ArtFolder = art.ART_FOLDER, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Compare the shipped words with their marks."""
    settings = load_settings()
    scorer = load_scorer(settings.scorer.model, settings.scorer.pretrained, settings.runtime.device)
    art.fetch(art_folder)
    world = World(art_folder, sorted({style for style, _ in SETS.values()} - {art.HELD_OUT_STYLE}), seed=1)
    show("shipped_words", [*judge_objects(settings, scorer, world), *judge_styles(settings, scorer)], "mark", as_json)


if __name__ == "__main__":
    typer.run(main)
