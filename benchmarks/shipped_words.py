"""How good the words of the built catalog are: `python -m benchmarks.shipped_words [--json]`, after `make catalog`."""

from statistics import fmean
from typing import Annotated

import torch
import typer

from benchmarks.result import Row, show
from tasks import artifacts
from tasks.pretraining.examples import SETS
from tasks.pretraining.nouns import HELD_OUT
from tasks.score import read_features
from tasks.settings import Settings, load_settings
from tasks.similarity.scorer import load_scorer
from tasks.similarity.scores import bootstrap, reconstruction


def judge_objects(settings: Settings) -> list[Row]:
    """Held-out objects whose pictures show mostly the thing itself: shares of the bounds, averaged."""
    shown = {concept: pictures for concept, (_, pictures) in SETS.items() if concept in settings.concepts}
    objects = [concept for concept, pictures in shown.items() if concept in HELD_OUT and any(scene == "plain" for _, scene in pictures)]
    scores = [artifacts.read_json(artifacts.scores(concept)) for concept in objects]
    faithful, editable = [score["reconstruction"] for score in scores], [score["editability"] for score in scores]
    over = ", ".join(objects)
    return [
        Row(f"reconstruction / Image-Only, {over}", fmean(s["value"] for s in faithful) / fmean(s["image_only"] for s in faithful), 0.92, "share"),
        Row("reconstruction minus the coarse words'", fmean(s["value"] - s["coarse_word"] for s in faithful), 0.08, "cosine"),
        Row(f"editability / Prompt-Only, {over}", fmean(s["value"] for s in editable) / fmean(s["prompt_only"] for s in editable), 0.88, "share"),
    ]


def judge_styles(settings: Settings) -> list[Row]:
    """Things that the style's pictures do not show: their likeness to those pictures with the word and without."""
    scorer, rules, rows = load_scorer(settings.scorer.model, settings.scorer.pretrained, settings.runtime.device), settings.score, []
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


def main(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Hold the shipped words against their marks."""
    settings = load_settings()
    show("shipped_words", [*judge_objects(settings), *judge_styles(settings)], "mark", as_json)


if __name__ == "__main__":
    typer.run(main)
