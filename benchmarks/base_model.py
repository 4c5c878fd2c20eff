"""How good the embedded models are: `python -m benchmarks.base_model [--art FOLDER] [--sheet FILE] [--json]`.

The generator is judged by the scorer, which shares nothing with it. Composites are drawn anew with seeds that no training used.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image

from benchmarks.result import Row, show
from tasks.diffusion.base_model import BaseModel, load_base_model
from tasks.diffusion.ddim import generate
from tasks.pretraining import art
from tasks.pretraining.autoencoder import psnr
from tasks.pretraining.nouns import ALL_NOUNS, TRAINED_NOUNS
from tasks.pretraining.scenes import COLOURS, SCENES
from tasks.pretraining.world import MEDIA, World, draw_sample, with_article
from tasks.sample import grid
from tasks.settings import load_settings
from tasks.similarity.scorer import Scorer, load_scorer

UNSEEN = 987_654_321
DRAWN_SCENES = [name for name in SCENES if name not in COLOURS and name != "plain"]
GUIDANCE_SCALE, NUM_INFERENCE_STEPS = 4.0, 50


def draw(base: BaseModel, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image]:
    """Generate one picture for each prompt and its seed."""
    return list(generate(base, prompts, seeds, {}, NUM_INFERENCE_STEPS, GUIDANCE_SCALE, batch_size=128))


def top1(scorer: Scorer, pictures: Sequence[Image.Image], candidates: Sequence[str], truth: Sequence[int]) -> float:
    """Return the share of pictures, in percent, whose most similar candidate is the true one."""
    best = (scorer.image_features(pictures) @ scorer.text_features(candidates).T).argmax(dim=1)
    return 100 * float((best == torch.tensor(truth)).float().mean())


def crossed(words: str, thing: str, where: str) -> str:
    return f"{words} {thing} {where}".strip()


def judge_autoencoder(base: BaseModel, world: World, count: int) -> Row:
    pictures, _ = world.batch(np.random.default_rng(UNSEEN), count, range(len(ALL_NOUNS)))
    return Row("autoencoder, unseen composites", psnr(base.vae, pictures), 24, "dB PSNR")


def judge_scorer(scorer: Scorer, world: World, styles: Sequence[str], count: int, case: str, mark: float) -> Row:
    """Top-1 noun among all nouns on single things in every scene and medium."""
    rng = np.random.default_rng(UNSEEN + 1)
    samples = [draw_sample(rng, range(len(ALL_NOUNS)), pair_share=0) for _ in range(count)]
    pictures = [world.render(rng, sample, str(rng.choice(styles)) if styles else None) for sample in samples]
    candidates = [f"a picture of {with_article(noun)}" for noun in ALL_NOUNS]
    return Row(case, top1(scorer, pictures, candidates, [sample.nouns[0] for sample in samples]), mark, "% top-1 noun")


def judge_nouns(base: BaseModel, scorer: Scorer, nouns: Sequence[str], seeds: int) -> list[Row]:
    prompts = [f"a photo of {with_article(noun)}" for noun in nouns for _ in range(seeds)]
    started = time.monotonic()
    pictures = draw(base, prompts, [UNSEEN + index for index in range(len(prompts))])
    pace = len(prompts) / (time.monotonic() - started)
    candidates = [f"a picture of {with_article(noun)}" for noun in ALL_NOUNS]
    accuracy = top1(scorer, pictures, candidates, [ALL_NOUNS.index(noun) for noun in nouns for _ in range(seeds)])
    return [
        Row(f"generator, {len(nouns)} nouns x {seeds} seeds", accuracy, 35, "% top-1 noun"),
        Row("sampling, 50 DDIM steps, guidance 4", pace, 6, "pictures/s"),
    ]


def judge_crossed(base: BaseModel, scorer: Scorer, nouns: Sequence[str], each: int) -> list[Row]:
    """Every drawn scene crossed with every medium: is the scene, is the medium the one that was asked for?"""
    rng = np.random.default_rng(UNSEEN + 2)
    cases = [(medium, scene, with_article(str(rng.choice(nouns)))) for medium in MEDIA for scene in DRAWN_SCENES for _ in range(each)]
    prompts = [crossed(MEDIA[medium].words, thing, SCENES[scene][0]) for medium, scene, thing in cases]
    features = scorer.image_features(draw(base, prompts, [UNSEEN + index for index in range(len(prompts))]))
    hits = {"scene": 0, "medium": 0}
    for feature, (medium, scene, thing) in zip(features, cases, strict=True):
        scenes = scorer.text_features([crossed(MEDIA[medium].words, thing, SCENES[other][0]) for other in DRAWN_SCENES])
        media = scorer.text_features([crossed(MEDIA[other].words, thing, SCENES[scene][0]) for other in MEDIA])
        hits["scene"] += DRAWN_SCENES[int((scenes @ feature).argmax())] == scene
        hits["medium"] += list(MEDIA)[int((media @ feature).argmax())] == medium
    return [
        Row(f"generator, {what} over {len(cases)} crossed prompts", 100 * count / len(cases), 85, f"% top-1 {what}") for what, count in hits.items()
    ]


def contact_sheet(base: BaseModel, path: Path) -> list[str]:
    """Draw 60 uncurated samples, six rows of ten, and return what they were asked to show, in reading order."""
    rng = np.random.default_rng(UNSEEN + 3)
    things = [str(noun) for noun in rng.choice(TRAINED_NOUNS, 60, replace=False)]
    pictures = draw(base, [f"a photo of {with_article(noun)}" for noun in things], range(60))
    sheet = grid(pictures, columns=10)
    sheet.resize((2 * sheet.width, 2 * sheet.height), Image.Resampling.NEAREST).save(path, optimize=True)
    return things


def main(
    art_folder: Annotated[Path, typer.Option("--art", help="where the emoji packages lie or are fetched to")] = Path(".cache/pretraining/art"),
    sheet: Annotated[Path | None, typer.Option(help="draw 60 uncurated samples to this file instead of measuring")] = None,
    quick: Annotated[bool, typer.Option(help="a fifth of the nouns, one seed")] = False,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Measure the embedded models against the marks of their first version."""
    settings = load_settings()
    base = load_base_model(settings.base.model, settings.base.revision, settings.runtime.device)
    if sheet:
        print("\n".join(contact_sheet(base, sheet)))
        return
    scorer = load_scorer(settings.scorer.model, settings.scorer.pretrained, settings.runtime.device)
    art.fetch(art_folder)
    world = World(art_folder, styles=[*art.TRAINED_STYLES, art.HELD_OUT_STYLE], seed=UNSEEN)
    nouns = list(np.random.default_rng(UNSEEN).permutation(TRAINED_NOUNS))[: 40 if quick else 200]
    rows = [
        judge_autoencoder(base, world, 512),
        judge_scorer(scorer, world, [], 1000, "scorer, unseen composites", 75),
        judge_scorer(scorer, world, [art.HELD_OUT_STYLE], 1000, "scorer, unseen art style", 60),
        *judge_nouns(base, scorer, nouns, 1 if quick else 4),
        *judge_crossed(base, scorer, nouns, 1 if quick else 3),
    ]
    show("base_model", rows, "mark", as_json)


if __name__ == "__main__":
    typer.run(main)
