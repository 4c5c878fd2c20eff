"""How the embedded base model and its judges were made: `python -m flows.pretrain_base`.

Every part leaves a checkpoint in the work folder and continues it; raise a step count to train on. Without checkpoints `--from-shipped` starts
from the weights in data/base. The generator and the scorer can be trained side by side: `--only scorer` in one shell, `--only generator` in another.
"""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import typer
from diffusers import AutoencoderKL, StableDiffusionPipeline
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from transformers import CLIPTokenizer

from tasks.artifacts import DATA
from tasks.diffusion.base_model import load_base_model, weights_sha256
from tasks.inversion.encoder import load_encoder
from tasks.pretraining import art
from tasks.pretraining.autoencoder import encode, train_autoencoder, train_decoder
from tasks.pretraining.denoiser import TextToLatents, build_noise_scheduler, build_unet, save_pipeline, train_denoiser
from tasks.pretraining.eye import draw_groups, save_eye, train_eye
from tasks.pretraining.media import ANY_ART, MEDIA
from tasks.pretraining.nouns import ALL_NOUNS, ALL_THINGS, OTHER_THINGS, TRAINED_NOUNS
from tasks.pretraining.scorer import save_scorer, train_scorer
from tasks.pretraining.teaching import taught_loss
from tasks.pretraining.tokenizer import train_tokenizer
from tasks.pretraining.training import finished, pick_device
from tasks.pretraining.transformer import prompt_tokenizer, save_z_image, train_transformer
from tasks.pretraining.world import Sample, World, draw_sample, repainted, setting_of, things_of, with_article

GENERATOR = DATA / "base" / "emoji-ldm"
SCORER = DATA / "base" / "emoji-clip"
EYE = DATA / "base" / "emoji-eye"
TRANSFORMER = DATA / "base" / "emoji-flow"
TRAINED = [ALL_NOUNS.index(noun) for noun in TRAINED_NOUNS]
SEEDS = {"captions": 1, "generator": 2, "scorer": 3, "unnamed": 4, "decoder": 5, "eye": 7}


@task(cache_policy=NO_CACHE)
def fetch_art(work: Path) -> Path:
    """Fetch the pinned emoji packages."""
    art.fetch(work / "art")
    return work / "art"


@task(cache_policy=NO_CACHE)
def make_tokenizer(work: Path, from_shipped: bool) -> CLIPTokenizer:
    """Learn the vocabulary from captions of the whole world, held-out nouns included, since they are ordinary words."""
    folder = GENERATOR / "tokenizer" if from_shipped else work / "tokenizer"
    if folder.exists():
        return CLIPTokenizer.from_pretrained(folder)
    rng = np.random.default_rng(SEEDS["captions"])
    return train_tokenizer([draw_sample(rng, range(len(ALL_NOUNS))).caption for _ in range(20_000)], folder)


def generator_composites(art_folder: Path, composites: int) -> tuple[np.ndarray, list[Sample]]:
    """Draw what the generator learns from: every noun but the held-out ones, and the other things."""
    return World(art_folder).batch(np.random.default_rng(SEEDS["generator"]), composites, TRAINED, OTHER_THINGS)


def shipped_parts() -> tuple[AutoencoderKL, TextToLatents]:
    """Return the shipped autoencoder and denoiser, ready for more training."""
    pipeline = StableDiffusionPipeline.from_pretrained(GENERATOR, safety_checker=None, torch_dtype=torch.float32)
    unet = build_unet()
    unet.load_state_dict(pipeline.unet.state_dict())
    return pipeline.vae, TextToLatents(pipeline.text_encoder, unet, build_noise_scheduler())


def trained_autoencoder(work: Path, art_folder: Path, composites: int, steps: int) -> AutoencoderKL:
    """Return the autoencoder; a finished one is read from its checkpoint, and no composite is drawn."""
    if finished(work, "autoencoder", steps):
        return train_autoencoder(np.empty(0), work, steps)
    return train_autoencoder(generator_composites(art_folder, composites)[0], work, steps)


def encoded_composites(cache: Path, art_folder: Path, autoencoder: AutoencoderKL, composites: int, unnamed: int) -> dict[str, Any]:
    """Return the posteriors and captions of composites, the unnamed ones last, and the portraits of the unnamed ones."""
    if not cache.exists():
        pictures, drawn = generator_composites(art_folder, composites)
        named = encode(autoencoder, pictures)
        world, rng = World(art_folder, art.COLOURED_STYLES, seed=2), np.random.default_rng(SEEDS["unnamed"])
        pictures, captions, portraits = world.unnamed_batch(rng, unnamed, [*TRAINED, *OTHER_THINGS])
        posteriors = torch.cat([named, encode(autoencoder, pictures)])
        captions = [sample.caption for sample in drawn] + captions
        torch.save({"posteriors": posteriors, "captions": captions, "portraits": torch.from_numpy(portraits)}, cache)
    return torch.load(cache, weights_only=True)


@task(cache_policy=NO_CACHE)
def train_generator(
    work: Path,
    art_folder: Path,
    tokenizer: CLIPTokenizer,
    composites: int,
    unnamed: int,
    autoencoder_steps: int,
    denoiser_steps: int,
    from_shipped: bool,
) -> Path:
    """Train the autoencoder, cache the latents of all composites, train the denoiser and its text encoder on them."""
    autoencoder, model = shipped_parts() if from_shipped else (trained_autoencoder(work, art_folder, composites, autoencoder_steps), None)
    cache = work / f"latents-{composites}-{unnamed}-{'shipped' if from_shipped else autoencoder_steps}.pt"
    data = encoded_composites(cache, art_folder, autoencoder, composites, unnamed)
    if not from_shipped:
        mean, std = data["posteriors"][:composites].float().chunk(2, dim=1)
        autoencoder.register_to_config(scaling_factor=round(float((mean.var() + std.square().mean()).rsqrt()), 5))
    factor, portraits = autoencoder.config.scaling_factor, data["portraits"].numpy()
    model = train_denoiser(data["posteriors"], data["captions"], portraits, factor, tokenizer, work, denoiser_steps, model)
    save_pipeline(model, autoencoder, tokenizer, GENERATOR)
    return GENERATOR


@task(cache_policy=NO_CACHE)
def train_flow(work: Path, art_folder: Path, composites: int, unnamed: int, flow_steps: int) -> Path:
    """Train the transformer of rectified flow in the latents of the shipped autoencoder; the shipped generator teaches it."""
    autoencoder, _ = shipped_parts()
    data = encoded_composites(work / f"latents-{composites}-{unnamed}-shipped.pt", art_folder, autoencoder, composites, unnamed)
    tokenizer = prompt_tokenizer(CLIPTokenizer.from_pretrained(GENERATOR / "tokenizer"))
    teacher = load_base_model(str(GENERATOR), None, str(pick_device()), 64)
    loss = taught_loss(teacher, load_encoder("emoji-encoder", teacher), data["posteriors"], data["captions"], unnamed, tokenizer)
    model = train_transformer(loss, teacher.vocabulary, tokenizer, work, flow_steps)
    save_z_image(model, autoencoder, tokenizer, TRANSFORMER)
    return TRANSFORMER


@task(cache_policy=NO_CACHE)
def sharpen(work: Path, art_folder: Path, tokenizer: CLIPTokenizer, composites: int, decoder_steps: int) -> Path:
    """Train the shipped generator's decoder further, on every medium equally often, since it blurs every medium but the photo."""
    autoencoder, model = shipped_parts()
    world, rng = World(art_folder), np.random.default_rng(SEEDS["decoder"])
    drawn = [replace(draw_sample(rng, TRAINED, others=OTHER_THINGS), medium=str(rng.choice(list(MEDIA)))) for _ in range(composites)]
    pictures = np.stack([np.asarray(world.render(rng, sample)) for sample in drawn])
    save_pipeline(model, train_decoder(autoencoder, pictures, work, decoder_steps), tokenizer, GENERATOR)
    return GENERATOR


@task(cache_policy=NO_CACHE)
def train_judge(work: Path, art_folder: Path, tokenizer: CLIPTokenizer, composites: int, scorer_steps: int, from_shipped: bool) -> Path:
    """Train the scorer on composites of every noun."""
    world = World(art_folder, art.SCORER_STYLES, seed=1)
    pictures, drawn = world.varied_batch(np.random.default_rng(SEEDS["scorer"]), composites, range(len(ALL_NOUNS)), OTHER_THINGS)
    captions = [(sample.caption, things_of(sample), setting_of(sample)) for sample in drawn]
    shown, texts = [sample.nouns for sample in drawn], [f"{ANY_ART.words} {with_article(thing)}" for thing in ALL_THINGS]
    start = SCORER if from_shipped else None
    scorer = train_scorer(pictures, captions, shown, texts, [repainted(sample) for sample in drawn], tokenizer, work, scorer_steps, start)
    save_scorer(scorer, tokenizer, SCORER)
    return SCORER


@task(cache_policy=NO_CACHE)
def train_fidelity_judge(work: Path, art_folder: Path, groups: int, steps: int) -> Path:
    """Train the judge that tells drawings apart."""
    save_eye(train_eye(draw_groups(art_folder, art.SCORER_STYLES, groups, SEEDS["eye"]), work, steps), EYE)
    return EYE


@flow(name="pretrain-base")
def pretrain_base(
    work: Path,
    only: Literal["generator", "flow", "decoder", "scorer", "eye"] | None,
    composites: int,
    unnamed: int,
    autoencoder_steps: int,
    denoiser_steps: int,
    flow_steps: int,
    decoder_steps: int,
    scorer_steps: int,
    eye_groups: int,
    eye_steps: int,
    from_shipped: bool,
) -> None:
    """Fetch the art, then train the generator, its decoder once more, the scorer and the judge of fidelity, each from its last checkpoint.

    The transformer is trained only where it is asked for: wordmint does not ship it yet.
    """
    art_folder, tokenizer = fetch_art(work), make_tokenizer(work, from_shipped)
    if only in (None, "generator"):
        train_generator(work, art_folder, tokenizer, composites, unnamed, autoencoder_steps, denoiser_steps, from_shipped)
    if only in (None, "decoder"):
        sharpen(work, art_folder, tokenizer, composites, decoder_steps)
    if only == "flow":
        train_flow(work, art_folder, composites, unnamed, flow_steps)
    if only in (None, "scorer"):
        train_judge(work, art_folder, tokenizer, composites, scorer_steps, from_shipped)
    if only in (None, "eye"):
        train_fidelity_judge(work, art_folder, eye_groups, eye_steps)
    named = {"base.revision": GENERATOR, "scorer.pretrained": SCORER, "score.fidelity.revision": EYE}
    digits = {name: weights_sha256(folder)[:12] for name, folder in named.items()}
    print(f"params.yaml and the cards have to name these weights: {digits}")


def main(
    work: Annotated[Path, typer.Option(help="checkpoints and fetched art")] = Path(".cache/pretraining"),
    only: Annotated[str | None, typer.Option(help="generator, decoder, flow, scorer or eye")] = None,
    composites: int = 60_000,
    unnamed: Annotated[int, typer.Option(help="composites of the generator that show a thing by a portrait and not by a noun")] = 140_000,
    autoencoder_steps: int = 6_000,
    denoiser_steps: int = 41_000,
    decoder_steps: int = 6_000,
    flow_steps: Annotated[int, typer.Option(help="optimizer steps of the transformer of rectified flow")] = 40_000,
    scorer_steps: int = 11_900,
    eye_groups: Annotated[int, typer.Option(help="groups of four like drawings that the judge of fidelity tells apart")] = 2_000,
    eye_steps: int = 4_300,
    from_shipped: Annotated[bool, typer.Option(help="start from the weights in data/base where there is no checkpoint")] = False,
) -> None:
    """Train the embedded models, or continue their training."""
    logging.getLogger("tasks").setLevel(logging.INFO)  # Prefect's root logger lets only warnings through
    pretrain_base(
        work,
        only,
        composites,
        unnamed,
        autoencoder_steps,
        denoiser_steps,
        flow_steps,
        decoder_steps,
        scorer_steps,
        eye_groups,
        eye_steps,
        from_shipped,
    )


if __name__ == "__main__":
    typer.run(main)
