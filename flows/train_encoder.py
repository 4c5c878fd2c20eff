"""How an encoder of pictures is made for the base model of params.yaml: `python -m flows.train_encoder --pictures FOLDER`.

The folder has a folder for each thing of the domain, with one or more pictures of it. `--embedded` draws the domain of the embedded base instead,
which the shipped encoder was trained on. A checkpoint in the work folder is continued; raise the step count to train on.
"""

import logging
from pathlib import Path
from typing import Annotated

import torch
import typer
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from tasks.artifacts import CACHE, DATA, folder_digest, write_bytes
from tasks.diffusion.base_model import BaseModel, load_base_model
from tasks.inversion.encoder import ENCODER, encoder_bytes, new_encoder
from tasks.inversion.passes import laid_out
from tasks.pretraining import art
from tasks.pretraining.domain import draw_domain
from tasks.pretraining.encoding import Domain, encoder_loss, read_domain
from tasks.pretraining.training import train
from tasks.settings import Settings, load_settings

SHIPPED = DATA / "base" / "emoji-encoder"
EMBEDDED = "things of the emoji world by eight artists, alone on scenes; none of the nouns that the embedded base was not trained on"
SEED = 6


@task(cache_policy=NO_CACHE)
def embedded_domain(work: Path, art_folder: Path, things: int, pictures_each: int) -> Path:
    """Draw the embedded base's domain, unless it has been drawn."""
    folder = work / f"domain-{things}-{pictures_each}"
    if not folder.exists():
        art.fetch(art_folder)
        draw_domain(art_folder, folder, things, pictures_each, SEED)
    return folder


@task(cache_policy=NO_CACHE)
def encoded_domain(work: Path, folder: Path, base: BaseModel, settings: Settings) -> Domain:
    """Encode the domain's pictures once and keep their latents in the work folder."""
    cache = work / "latents.pt"
    if not cache.exists():
        work.mkdir(parents=True, exist_ok=True)
        torch.save(read_domain(folder, base, settings.curate.min_side, settings.curate.max_pixels), cache)
    return torch.load(cache, weights_only=True)


@task(cache_policy=NO_CACHE)
def trained_encoder(work: Path, base: BaseModel, domain: Domain, steps: int, batch: int, description: str, out: Path) -> Path:
    """Train the encoder and write its file."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        encoder = new_encoder(base)
    with laid_out(base):
        loss = encoder_loss(base, domain, batch)
        encoder = train("encoder", encoder, loss, work, steps, peak=1e-3, seed=SEED, device=base.device)  # type: ignore[assignment]
    write_bytes(out / ENCODER, encoder_bytes(encoder.cpu(), base, description))
    return out / ENCODER


@flow(name="train-encoder")
def train_encoder(
    work: Path, pictures: Path | None, art_folder: Path, things: int, pictures_each: int, steps: int, batch: int, description: str, out: Path
) -> Path:
    """Encode a domain's pictures and train an encoder on them; without `pictures` the domain is drawn."""
    settings = load_settings()
    base = load_base_model(*settings.base_model)
    folder = pictures or embedded_domain(work, art_folder, things, pictures_each)
    # A folder for each domain and base: the checkpoint of another one is no training to continue.
    work /= f"{folder_digest(folder, '**/*'):.12}-{base.identity['weights_sha256']:.12}-{base.resolution}"
    return trained_encoder(work, base, encoded_domain(work, folder, base, settings), steps, batch, description, out)


def main(
    pictures: Annotated[Path | None, typer.Option(help="a folder with a folder of pictures for each thing of the domain")] = None,
    embedded: Annotated[bool, typer.Option(help="draw the embedded base's domain instead")] = False,
    out: Annotated[Path | None, typer.Option(help="the folder of the encoder, which base.encoder names; needed with --pictures")] = None,
    description: Annotated[str, typer.Option(help="which pictures the encoder is for; by default the name of their folder")] = "",
    work: Annotated[Path, typer.Option(help="checkpoints and latents")] = CACHE / "encoder",
    art_folder: Annotated[Path, typer.Option("--art", help="fetched art, for --embedded")] = art.ART_FOLDER,
    things: Annotated[int, typer.Option(help="things of the embedded domain")] = 4_000,
    pictures_each: Annotated[int, typer.Option(help="pictures of each of them")] = 3,
    steps: int = 6_500,
    batch: int = 16,
) -> None:
    """Train an encoder, or continue its training."""
    if embedded == (pictures is not None):
        raise typer.BadParameter("give either --pictures FOLDER or --embedded")
    if pictures and out is None:
        raise typer.BadParameter("give --out FOLDER for the encoder of --pictures; the shipped one stays as it is")
    description = description or (pictures.name if pictures else EMBEDDED)
    logging.getLogger("tasks").setLevel(logging.INFO)  # Prefect's root logger lets only warnings through
    print(train_encoder(work, pictures, art_folder, things, pictures_each, steps, batch, description, out or SHIPPED))


if __name__ == "__main__":
    typer.run(main)
