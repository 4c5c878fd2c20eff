"""How the embedded base model and its scorer were made: `python -m flows.pretrain_base`.

Every part leaves a checkpoint in the work folder and continues it; raise a step count to train on. The parts are independent
enough to run side by side: `--only scorer` in one shell and `--only generator` in another.
"""

import logging
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import typer
from diffusers import AutoencoderKL
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from transformers import CLIPTokenizer

from tasks.artifacts import DATA
from tasks.pretraining import art
from tasks.pretraining.autoencoder import encode, train_autoencoder
from tasks.pretraining.denoiser import save_pipeline, train_denoiser
from tasks.pretraining.media import ANY_ART
from tasks.pretraining.nouns import ALL_NOUNS, ALL_THINGS, OTHER_THINGS, TRAINED_NOUNS
from tasks.pretraining.scorer import save_scorer, train_scorer
from tasks.pretraining.tokenizer import train_tokenizer
from tasks.pretraining.training import finished
from tasks.pretraining.world import Sample, World, draw_sample, repainted, setting_of, things_of, with_article

GENERATOR = DATA / "base" / "emoji-ldm"
SCORER = DATA / "base" / "emoji-clip"
TRAINED = [ALL_NOUNS.index(noun) for noun in TRAINED_NOUNS]
SEEDS = {"captions": 1, "generator": 2, "scorer": 3}


@task(cache_policy=NO_CACHE)
def fetch_art(work: Path) -> Path:
    """Fetch the pinned emoji packages."""
    art.fetch(work / "art")
    return work / "art"


@task(cache_policy=NO_CACHE)
def make_tokenizer(work: Path) -> CLIPTokenizer:
    """Learn the vocabulary from captions of the whole world, held-out nouns too: they are ordinary words."""
    folder = work / "tokenizer"
    if folder.exists():
        return CLIPTokenizer.from_pretrained(folder)
    rng = np.random.default_rng(SEEDS["captions"])
    return train_tokenizer([draw_sample(rng, range(len(ALL_NOUNS))).caption for _ in range(20_000)], folder)


def generator_composites(art_folder: Path, composites: int) -> tuple[np.ndarray, list[Sample]]:
    """Draw what the generator learns from: every noun but the held-out ones, and the other things."""
    return World(art_folder).batch(np.random.default_rng(SEEDS["generator"]), composites, TRAINED, OTHER_THINGS)


def trained_autoencoder(work: Path, art_folder: Path, composites: int, steps: int) -> AutoencoderKL:
    """Return the autoencoder; one that is finished is read from its checkpoint, without drawing a single composite."""
    if finished(work, "autoencoder", steps):
        return train_autoencoder(np.empty(0), work, steps)
    return train_autoencoder(generator_composites(art_folder, composites)[0], work, steps)


@task(cache_policy=NO_CACHE)
def train_generator(work: Path, art_folder: Path, tokenizer: CLIPTokenizer, composites: int, autoencoder_steps: int, denoiser_steps: int) -> Path:
    """Train the autoencoder, cache the latents of all composites, train the denoiser and its text encoder on them."""
    autoencoder = trained_autoencoder(work, art_folder, composites, autoencoder_steps)
    cache = work / f"latents-{composites}-{autoencoder_steps}.pt"
    if not cache.exists():
        pictures, drawn = generator_composites(art_folder, composites)
        torch.save({"posteriors": encode(autoencoder, pictures), "captions": [sample.caption for sample in drawn]}, cache)
    data = torch.load(cache, weights_only=True)
    mean, std = data["posteriors"].float().chunk(2, dim=1)
    scaling_factor = round(float((mean.var() + std.square().mean()).rsqrt()), 5)
    autoencoder.register_to_config(scaling_factor=scaling_factor)
    model = train_denoiser(data["posteriors"], data["captions"], scaling_factor, tokenizer, work, denoiser_steps)
    save_pipeline(model, autoencoder, tokenizer, GENERATOR)
    return GENERATOR


@task(cache_policy=NO_CACHE)
def train_judge(work: Path, art_folder: Path, tokenizer: CLIPTokenizer, composites: int, scorer_steps: int) -> Path:
    """Train the scorer on composites of every noun."""
    world = World(art_folder, art.SCORER_STYLES, seed=1)
    pictures, drawn = world.varied_batch(np.random.default_rng(SEEDS["scorer"]), composites, range(len(ALL_NOUNS)), OTHER_THINGS)
    captions = [(sample.caption, things_of(sample), setting_of(sample)) for sample in drawn]
    shown, texts = [sample.nouns for sample in drawn], [f"{ANY_ART.words} {with_article(thing)}" for thing in ALL_THINGS]
    scorer = train_scorer(pictures, captions, shown, texts, [repainted(sample) for sample in drawn], tokenizer, work, scorer_steps)
    save_scorer(scorer, tokenizer, SCORER)
    return SCORER


@flow(name="pretrain-base")
def pretrain_base(
    work: Path,
    only: Literal["generator", "scorer"] | None,
    composites: int,
    autoencoder_steps: int,
    denoiser_steps: int,
    scorer_steps: int,
) -> None:
    """Fetch the art, then train the generator and the scorer, each from its last checkpoint."""
    art_folder, tokenizer = fetch_art(work), make_tokenizer(work)
    if only != "scorer":
        train_generator(work, art_folder, tokenizer, composites, autoencoder_steps, denoiser_steps)
    if only != "generator":
        train_judge(work, art_folder, tokenizer, composites, scorer_steps)


def main(
    work: Annotated[Path, typer.Option(help="checkpoints and fetched art")] = Path(".cache/pretraining"),
    only: Annotated[str | None, typer.Option(help="generator or scorer")] = None,
    composites: int = 60_000,
    autoencoder_steps: int = 6_000,
    denoiser_steps: int = 21_000,
    scorer_steps: int = 8_700,
) -> None:
    """Train the embedded models, or continue their training."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    pretrain_base(work, only, composites, autoencoder_steps, denoiser_steps, scorer_steps)


if __name__ == "__main__":
    typer.run(main)
