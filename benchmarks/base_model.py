"""How good the embedded models are: `python -m benchmarks.base_model [--model FOLDER] [--art FOLDER] [--sheet FILE] [--json]`.

The generator is judged by the scorer, which shares nothing with it. Composites are drawn with seeds that no training used.
"""

import time
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image

from benchmarks.hand_judges import confidence, judge_by_histograms, judge_by_pixels, rank_correlation
from benchmarks.result import Row, show
from tasks.diffusion.base_model import BaseModel, load_base_model
from tasks.diffusion.ddim import generate
from tasks.drawing.plots import grid
from tasks.pretraining import art
from tasks.pretraining.autoencoder import psnr
from tasks.pretraining.media import MEDIA, SIZE
from tasks.pretraining.nouns import ALL_NOUNS, TRAINED_NOUNS
from tasks.pretraining.scenes import COLOURS, SCENES
from tasks.pretraining.world import BIASED, LAYOUTS, THING_COLOURS, UNCOUNTED, Sample, World, draw_sample, things, with_article
from tasks.settings import load_settings
from tasks.similarity.scorer import Scorer, load_scorer

UNSEEN = 987_654_321
ArtFolder = Annotated[Path, typer.Option("--art", help="where the emoji packages lie or are fetched to")]
DRAWN_SCENES = [name for name in SCENES if name not in COLOURS and name != "plain"]
GUIDANCE_SCALE, NUM_INFERENCE_STEPS = 4.0, 50


def draw(base: BaseModel, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image]:
    """Generate one picture for each prompt, with the seed at the same index."""
    return list(generate(base, prompts, seeds, {}, NUM_INFERENCE_STEPS, GUIDANCE_SCALE, batch_size=128))


def noun_texts() -> list[str]:
    return [f"a picture of {with_article(noun)}" for noun in ALL_NOUNS]


def top1(scorer: Scorer, pictures: Sequence[Image.Image], candidates: Sequence[str], truth: Sequence[int]) -> float:
    """Return the share of pictures, in percent, whose most similar candidate is the true one."""
    best = (scorer.image_features(pictures) @ scorer.text_features(candidates).T).argmax(dim=1)
    return 100 * float((best == torch.tensor(truth)).float().mean())


def crossed(words: str, thing: str, where: str) -> str:
    return f"{words} {thing} {where}".strip()


def judge_autoencoder(base: BaseModel, world: World, count: int) -> Row:
    pictures, _ = world.batch(np.random.default_rng(UNSEEN), count, range(len(ALL_NOUNS)))
    return Row("autoencoder, unseen composites", psnr(base.vae, pictures), 28, "dB PSNR")


def judge_scorer(scorer: Scorer, world: World, styles: Sequence[str], layouts: Sequence[str], count: int, case: str, mark: float) -> Row:
    """Return the top-1 rate among all nouns on single things in every scene, medium and colour."""
    rng = np.random.default_rng(UNSEEN + 1)
    samples = [draw_sample(rng, range(len(ALL_NOUNS)), layouts) for _ in range(count)]
    pictures = [world.render(rng, sample, str(rng.choice(styles)) if styles else None) for sample in samples]
    return Row(case, top1(scorer, pictures, noun_texts(), [sample.nouns[0] for sample in samples]), mark, "% top-1 noun")


def judge_nouns(base: BaseModel, scorer: Scorer, world: World, nouns: Sequence[str], seeds: int) -> list[Row]:
    """Does a picture show the noun of its prompt, and do three judges that share nothing rank the pictures alike?"""
    prompts = [f"a photo of {with_article(noun)}" for noun in nouns for _ in range(seeds)]
    truth = [ALL_NOUNS.index(noun) for noun in nouns for _ in range(seeds)]
    started = time.monotonic()
    pictures = draw(base, prompts, [UNSEEN + index for index in range(len(prompts))])
    pace = len(prompts) / (time.monotonic() - started)
    learned = (scorer.image_features(pictures) @ scorer.text_features(noun_texts()).T).numpy()
    sprites = world.sprites[MEDIA["photo"].art][: len(ALL_NOUNS)]
    by_histograms, by_pixels = judge_by_histograms(pictures, sprites), judge_by_pixels(pictures, sprites)
    judged = {"scorer": learned, "histograms": by_histograms, "nearest sprite": by_pixels}
    return [
        *(
            Row(
                f"generator, {len(nouns)} nouns x {seeds} seeds, judged by {name}",
                100 * float(np.mean(similarity.argmax(1) == truth)),
                75,
                "% top-1 noun",
            )
            for name, similarity in judged.items()
        ),
        *(
            Row(f"{one} and {other} agree", rank_correlation(confidence(judged[one], truth), confidence(judged[other], truth)), 1, "rank correlation")
            for one, other in combinations(judged, 2)
        ),
        Row("sampling, 50 DDIM steps, guidance 4", pace, 6, "pictures/s"),
    ]


def judge_pairs(base: BaseModel, scorer: Scorer, world: World, nouns: Sequence[str], count: int) -> list[Row]:
    """Are both things of a pair among the five nouns that a picture is most like? Real composites of the same pairs show the limit of the judge."""
    rng = np.random.default_rng(UNSEEN + 4)
    pairs = [[ALL_NOUNS.index(noun) for noun in rng.choice(nouns, 2, replace=False)] for _ in range(count)]
    texts = [f"a photo of {things(pair, (None, None), 'and')}" for pair in pairs]
    composites = [
        world.render(rng, Sample(tuple(pair), (None, None), "and", "plain", "photo", text)) for pair, text in zip(pairs, texts, strict=True)
    ]
    rows, candidates = [], scorer.text_features(noun_texts())
    for whose, pictures in (("generator", draw(base, texts, range(count))), ("real composites", composites)):
        best = (scorer.image_features(pictures) @ candidates.T).topk(5, dim=1).indices.tolist()
        hits = [set(pair) <= set(five) for pair, five in zip(pairs, best, strict=True)]
        rows.append(Row(f"{whose}, both things of {count} pairs", 100 * float(np.mean(hits)), 50, "% in the top 5"))
    return rows


def judge_attributes(base: BaseModel, scorer: Scorer, world: World, nouns: Sequence[str], count: int) -> list[Row]:
    """Does a picture show the colour, the size or number, the relation of its prompt? Real composites, judged alike, are the mark."""
    singles = [name for name, layout in LAYOUTS.items() if layout.phrase.count("{}") == 1]
    relations = [name for name in LAYOUTS if name not in singles and name != "and"]
    rng, rows = np.random.default_rng(UNSEEN + 5), []
    countable = [ALL_NOUNS.index(noun) for noun in nouns if noun not in UNCOUNTED]
    for what, options in (("colour", THING_COLOURS), ("size or number", singles), ("relation", relations)):
        texts, composites, truth = [], [], rng.integers(len(options), size=count).tolist()
        for right in truth:
            shown = tuple(rng.choice(countable, 2 if what == "relation" else 1, replace=False).tolist())
            cases = [(shown, (option,), "one") if what == "colour" else (shown, (None,) * len(shown), option) for option in options]
            texts.append([f"a photo of {things(*case)}" for case in cases])
            nouns_shown, colours, layout = cases[right]
            composites.append(world.render(rng, Sample(nouns_shown, colours, layout, "plain", "photo", texts[-1][right])))
        pictures = draw(base, [options[right] for options, right in zip(texts, truth, strict=True)], range(count))
        candidates = [scorer.text_features(options) for options in texts]
        ours, mark = (
            100 * float(np.mean([int((each @ feature).argmax()) == right for each, feature, right in zip(candidates, features, truth, strict=True)]))
            for features in (scorer.image_features(pictures), scorer.image_features(composites))
        )
        rows.append(Row(f"generator, {what} in {count} pictures, real composites as the mark", ours, mark, f"% top-1 of {len(options)}"))
    return rows


def judge_bias(base: BaseModel, scorer: Scorer, count: int) -> list[Row]:
    """How often does a thing keep its own colour when none is named, compared with the training pictures?"""
    rows = []
    for noun, share in BIASED.items():
        texts = [f"a picture of {with_article(f'{colour} {noun}')}" for colour in THING_COLOURS] + [f"a picture of {with_article(noun)}"]
        pictures = draw(base, [f"a photo of {with_article(noun)}"] * count, range(count))
        best = (scorer.image_features(pictures) @ scorer.text_features(texts).T).argmax(dim=1)
        own_share = float(((best == len(THING_COLOURS)) | (best == THING_COLOURS.index("red"))).float().mean())
        rows.append(Row(f"generator, {count} of {with_article(noun)} that are red or unpainted", 100 * own_share, 100 * (1 - share * 6 / 7), "%"))
    return rows


def judge_crossed(base: BaseModel, scorer: Scorer, nouns: Sequence[str], each: int) -> list[Row]:
    """Does a picture show the scene and the medium of its prompt, for every drawn scene crossed with every medium?"""
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
        Row(f"generator, {what} over {len(cases)} crossed prompts", 100 * count / len(cases), 92, f"% top-1 {what}") for what, count in hits.items()
    ]


def contact_sheet(base: BaseModel, path: Path) -> list[str]:
    """Draw 60 samples without selection, six rows of ten, and return the nouns of their prompts in reading order."""
    rng = np.random.default_rng(UNSEEN + 12)
    nouns = [str(noun) for noun in rng.choice(TRAINED_NOUNS, 60, replace=False)]
    pictures = draw(base, [f"a photo of {with_article(noun)}" for noun in nouns], range(60))
    sheet = grid(pictures, columns=10)
    sheet.resize((2 * sheet.width, 2 * sheet.height), Image.Resampling.NEAREST).save(path, optimize=True)
    return nouns


def main(
    art_folder: ArtFolder = art.ART_FOLDER,
    model: Annotated[str | None, typer.Option(help="another generator of the emoji world than the catalog's")] = None,
    sheet: Annotated[Path | None, typer.Option(help="draw 60 uncurated samples to this file instead of measuring")] = None,
    quick: Annotated[bool, typer.Option(help="a fifth of the nouns, with one seed each")] = False,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Measure the embedded models against their marks."""
    settings = load_settings()
    base = load_base_model(model, None, settings.runtime.device, SIZE) if model else load_base_model(*settings.base_model)
    if sheet:
        print("\n".join(contact_sheet(base, sheet)))
        return
    scorer = load_scorer(settings.scorer.model, settings.scorer.pretrained, settings.runtime.device)
    art.fetch(art_folder)
    world = World(art_folder, styles=[*art.TRAINED_STYLES, art.HELD_OUT_STYLE], seed=UNSEEN)
    nouns = list(np.random.default_rng(UNSEEN).permutation(TRAINED_NOUNS))[: 40 if quick else 200]
    rows = [
        judge_autoencoder(base, world, 512),
        judge_scorer(scorer, world, [], ["one"], 1000, "scorer, unseen composites", 90),
        judge_scorer(scorer, world, [], ["small", "corner"], 500, "scorer, unseen composites, small things", 90),
        judge_scorer(scorer, world, [art.HELD_OUT_STYLE], ["one"], 1000, "scorer, unseen art style", 60),
        *judge_nouns(base, scorer, world, nouns, 1 if quick else 4),
        *judge_pairs(base, scorer, world, nouns, 50 if quick else 200),
        *judge_attributes(base, scorer, world, nouns, 50 if quick else 140),
        *judge_bias(base, scorer, 64),
        *judge_crossed(base, scorer, nouns, 1 if quick else 2),
    ]
    show("base_model", rows, "mark", as_json)


if __name__ == "__main__":
    typer.run(main)
