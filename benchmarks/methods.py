"""Every method at equal optimizer seconds on the shipped concepts: `python -m benchmarks.methods [--sheets FOLDER] [--json]`, after `make catalog`.

The LoRA of params.yaml, or a share of its steps, sets the seconds. The pace of every other method is measured first, so that its steps fill the
same time. Perfusion gives its word as many steps as half of the LoRA's word. The encoder takes its 30 steps and no more.
"""

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.result import machine
from tasks import artifacts
from tasks.concepts.stand_ins import without_word
from tasks.diffusion.base_model import BaseModel, load_base_model
from tasks.diffusion.ddim import generate
from tasks.drawing.plots import grid
from tasks.inversion.loop import train
from tasks.inversion.options import FROM_PICTURES, Invert
from tasks.inversion.training import Training
from tasks.judging.judge import read_features
from tasks.settings import Settings, load_settings
from tasks.similarity.eye import load_eye
from tasks.similarity.scorer import Scorer, load_scorer
from tasks.similarity.scores import editability, reconstruction
from tasks.training.start import prepare, recipe_of
from tasks.words.learned import Learned, taught

PACE = 20  # optimizer steps by which a method's pace is measured
RARE = "z"  # no caption that the embedded model was trained on has the letter alone
PRIOR = {"pictures": 16, "weight": 1.0, "num_inference_steps": 25, "guidance_scale": 4.0}
WAYS: dict[str, dict[str, Any]] = {
    "textual_inversion": {"method": "textual_inversion", "options": {}},
    "encoder": {"method": "encoder", "options": {"weight": 0.01}, "max_train_steps": 30},
    "norm_held": {"method": "norm_held", "options": {}},
    "extended": {"method": "extended", "options": {"word": "norm_held"}},
    "perfusion": {
        "method": "perfusion",
        "options": {"word": "norm_held", "steps": PACE, "learning_rate": 0.1, "bias": 0.75, "temperature": 0.1},
    },
    "lora": {},
    "dreambooth": {"method": "dreambooth", "options": {"identifier": RARE, "prior": None}, "learning_rate": 1e-3},
    "dreambooth, prior": {"method": "dreambooth", "options": {"identifier": RARE, "prior": PRIOR}, "learning_rate": 1e-3},
}
"""Name -> changes of the section `invert`."""


def trained(base: BaseModel, settings: Settings, concepts: Sequence[str], seed: int, changes: Mapping[str, Any]) -> dict[str, Training]:
    """Train concepts in one batch: concept -> its last training."""
    trainings = []
    for concept in concepts:
        recipe = recipe_of(concept, settings)
        if changes.get("method") == "encoder":
            recipe = replace(recipe, word=recipe.word.model_copy(update={"initializer_token": FROM_PICTURES}), encoder=settings.base.encoder)
        rules = Invert.model_validate(settings.invert.model_dump() | dict(changes) | {"seed": seed})
        trainings.append(prepare(replace(recipe, rules=rules), base))
    with tempfile.TemporaryDirectory() as folder:
        ended = train(base, trainings, {concept: Path(folder) / f"{concept}.pt" for concept in concepts}, 1 << 30)
        return {training.concept: training for training in ended}


def with_steps(changes: Mapping[str, Any], word: int, tuning: int) -> dict[str, Any]:
    """Return a way with other numbers of optimizer steps."""
    options = dict(changes.get("options", {}))
    if "steps" in options:
        options["steps"] = tuning
    return {**changes, "options": options, "max_train_steps": word}


def filling(base: BaseModel, settings: Settings, concepts: Sequence[str], changes: Mapping[str, Any], seconds: float, word: int) -> dict[str, Any]:
    """Return a way whose steps take `seconds` a concept. word: the optimizer steps of a word before its tuning."""

    def mean_seconds(word: int, tuning: int) -> float:
        ended = trained(base, settings, concepts, 0, with_steps(changes, word, tuning))
        return fmean(training.schedule.seconds for training in ended.values())

    if "max_train_steps" in changes:
        return dict(changes)
    if "steps" not in changes["options"]:
        return with_steps(changes, round(PACE * seconds / mean_seconds(PACE, 1)), 1)
    whole, half = mean_seconds(PACE, PACE), mean_seconds(PACE, PACE // 2)
    tuning_step = (whole - half) / (PACE - PACE // 2)
    word_step = (whole - PACE * tuning_step) / PACE
    return with_steps(changes, word, max(1, round((seconds - word * word_step) / tuning_step)))


def judged(base: BaseModel, scorer: Scorer, settings: Settings, concept: str, learned: Learned, pictures: int, steps: int) -> dict[str, Any]:
    """Draw a concept's prompts and score them; `drawn` has the pictures, prompt by prompt."""
    prompts, seeds = settings.prompts(concept), list(range(pictures))
    texts = [prompt.format(learned.placeholder_token) for prompt in prompts for _ in seeds]
    with taught(base, [learned]) as words:
        drawn = list(
            generate(base, texts, seeds * len(prompts), words, steps, settings.sample.look(base.look)[1], settings.runtime.pictures_per_batch)
        )
    likeness, *edits = scorer.image_features(drawn).split(pictures)
    wanted = scorer.text_features([without_word(prompt) for prompt in prompts[1:]])
    rules, seen = settings.score.fidelity, dict[str, float]()
    if rules and settings.concept(concept).kind == "object":
        eye = load_eye(rules.model, rules.revision, settings.runtime.device)
        seen["fidelity"] = reconstruction(eye.image_features(drawn[:pictures]), read_features(eye, artifacts.curated(concept)))
    return seen | {
        "reconstruction": reconstruction(likeness, read_features(scorer, artifacts.curated(concept))),
        "editability": fmean(editability(features, text) for features, text in zip(edits, wanted, strict=True)),
        "drawn": drawn,
    }


def measure(
    settings: Settings, concepts: Sequence[str], seeds: Sequence[int], pictures: int, steps: int, share: float, sheets: Path | None
) -> Iterator[dict[str, Any]]:
    """Yield one row for each method, concept and seed."""
    base = load_base_model(*settings.base_model)
    scorer = load_scorer(settings.scorer.model, settings.scorer.pretrained, settings.runtime.device)
    word, tuning = round(share * settings.invert.max_train_steps), round(share * settings.invert.options.model_dump()["steps"])
    lora = with_steps({"options": settings.invert.options.model_dump()}, word, tuning)
    seconds = fmean(training.schedule.seconds for training in trained(base, settings, concepts, 0, lora).values())
    fitted = {way: filling(base, settings, concepts, changes, seconds, word // 2) if changes else lora for way, changes in WAYS.items()}
    for seed in seeds:
        for way, changes in fitted.items():
            for concept, training in trained(base, settings, concepts, seed, changes).items():
                row = {"way": way, "concept": concept, "seed": seed, "seconds": training.schedule.seconds}
                if training.result is None:
                    yield row | {"error": training.error}
                    continue
                learned = training.result.on_the_cpu()
                record = {"settings": {"placeholder_token": "", "initializer_token": ""}, "base": {}, "data_sha256": "", "versions": {}}
                size = sum(map(len, learned.files(concept, record, base).values()))
                scores = judged(base, scorer, settings, concept, learned, pictures, steps)
                if sheets and seed == seeds[0]:
                    sheets.mkdir(parents=True, exist_ok=True)
                    grid(scores["drawn"], pictures).save(sheets / f"{way.replace(', ', '-')}-{concept}.png")
                del scores["drawn"]
                yield row | {"bytes": size, "steps": (training.before or training).schedule.step} | scores


def main(
    seeds: Annotated[int, typer.Option(help="trainings of each concept")] = 2,
    pictures: Annotated[int, typer.Option(help="pictures of each prompt")] = 8,
    steps: Annotated[int, typer.Option(help="sampling steps of a picture")] = 25,
    share: Annotated[float, typer.Option(help="of the optimizer steps of params.yaml")] = 1.0,
    sheets: Annotated[Path | None, typer.Option(help="folder for the pictures of the first seed")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Compare the methods."""
    settings = load_settings()
    rows = []
    for row in measure(settings, list(settings.concepts), range(seeds), pictures, steps, share, sheets):
        rows.append(row)
        print(" ".join(f"{key}={value}" for key, value in row.items()), file=sys.stderr)  # it takes most of an hour
    if as_json:
        print(json.dumps({"benchmark": "methods", "machine": machine(), "rows": rows}, indent=2))
        return
    keys = ("reconstruction", "editability", "fidelity", "seconds", "bytes")
    table = Table("method", *keys, title=f"methods, {machine()}", title_justify="left")
    for way in WAYS:
        own = [row for row in rows if row["way"] == way and "error" not in row]
        means = {key: fmean(row[key] for row in own if key in row) for key in keys if any(key in row for row in own)}  # styles have no fidelity
        table.add_row(way, *(f"{means[key]:{',.0f' if key == 'bytes' else '.3g'}}" if key in means else "-" for key in keys))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
