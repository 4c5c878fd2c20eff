"""Why the embedded denoiser is as it is: `python -m benchmarks.ablations [--only NAME] [--json]`, after `flows.pretrain_base --only generator`.

Each design is trained from scratch for the same few optimizer steps on the cached latents of named composites. `DESIGNS` lists what differs.
"""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from zlib import crc32

import numpy as np
import torch
import typer
from diffusers import AutoencoderKL
from transformers import CLIPTokenizer

from benchmarks.base_model import UNSEEN, crossed, draw, noun_texts, top1
from benchmarks.result import Row, show
from tasks import artifacts
from tasks.diffusion.base_model import load_base_model
from tasks.pretraining.denoiser import (
    BATCH,
    UNET,
    TextToLatents,
    build_noise_scheduler,
    build_text_encoder,
    build_unet,
    denoising_loss,
    save_pipeline,
    train_denoiser,
)
from tasks.pretraining.nouns import ALL_NOUNS, TRAINED_NOUNS
from tasks.pretraining.scenes import SCENES
from tasks.pretraining.sprites import PORTRAIT_SIZE
from tasks.pretraining.world import plural, with_article
from tasks.settings import load_settings
from tasks.similarity.scorer import load_scorer

CROSS, DOWN, CROSS_UP, UP = "CrossAttnDownBlock2D", "DownBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"
VALIDATION = 2000  # pictures that no design is trained on
NO_PORTRAITS = np.empty((0, PORTRAIT_SIZE, PORTRAIT_SIZE, 3), np.uint8)


@dataclass(frozen=True)
class Design:
    """The differences of a design from the shipped one."""

    unet: dict[str, Any] = field(default_factory=dict)
    noise: dict[str, Any] = field(default_factory=dict)
    text_layers: int = 2
    noun_share: float = 1.0


DESIGNS: dict[str, Design] = {
    "shipped": Design(),
    "attention in the middle alone": Design(unet={"up_block_types": (UP,) * 3}),
    "attention at 4x4 too": Design(unet={"down_block_types": (DOWN, DOWN, CROSS), "up_block_types": (CROSS_UP, CROSS_UP, UP)}),
    "attention at 8x8 and 4x4, both ways": Design(unet={"down_block_types": (DOWN, CROSS, CROSS), "up_block_types": (CROSS_UP, CROSS_UP, UP)}),
    "attention at 16x16 too": Design(unet={"down_block_types": (CROSS,) * 3, "up_block_types": (CROSS_UP,) * 3}),
    "no pooled prompt": Design(unet={"addition_embed_type": None}),
    "Stable Diffusion's noise": Design(noise={"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}),
    "zero-terminal noise, v": Design(noise={"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}),
    "text encoder of 1 layer": Design(text_layers=1),
    "text encoder of 4 layers": Design(text_layers=4),
    "a quarter of the nouns": Design(noun_share=0.25),
}


def train_and_judge(name: str, work: Path, data: dict[str, Any], steps: int) -> dict[str, float]:
    """Train a design and return its figures; those of a finished design are read from its record."""
    design = DESIGNS[name]
    folder = work / "ablations" / f"{name.replace(' ', '-')}-{steps}-{crc32(repr((UNET, design)).encode()):08x}"  # the shipped design changes
    record = folder / "figures.json"
    if record.exists():
        return json.loads(record.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")
    rng = np.random.default_rng(UNSEEN)
    kept = set(rng.permutation(TRAINED_NOUNS)[: round(design.noun_share * len(TRAINED_NOUNS))].tolist())
    dropped = {word for noun in TRAINED_NOUNS if noun not in kept for word in (noun, plural(noun))}
    rows = [row for row, caption in enumerate(data["captions"]) if not dropped & set(caption.split())]
    seen, unseen = (
        [row for row in rows if row < len(data["captions"]) - VALIDATION],
        [row for row in rows if row >= len(data["captions"]) - VALIDATION],
    )
    torch.manual_seed(0)
    model = TextToLatents(build_text_encoder(tokenizer, design.text_layers), build_unet(**design.unet), build_noise_scheduler(**design.noise))

    def part(chosen: list[int]) -> tuple[torch.Tensor, list[str], np.ndarray, float, CLIPTokenizer]:
        return data["posteriors"][chosen], [data["captions"][row] for row in chosen], NO_PORTRAITS, data["scaling_factor"], tokenizer

    started = time.monotonic()
    trained = train_denoiser(*part(seen), folder, steps, model)
    figures = {"pictures_per_second": BATCH * steps / (time.monotonic() - started)}
    loss = denoising_loss(*part(unseen), batch=128)
    with torch.inference_mode():
        values = [float(loss(trained, np.random.default_rng(seed), torch.Generator().manual_seed(seed))) for seed in range(16)]
    figures["validation_loss"] = float(np.mean(values))
    autoencoder = AutoencoderKL.from_pretrained(data["autoencoder"])
    save_pipeline(trained, autoencoder, tokenizer, folder / "pipeline")
    artifacts.write_json(record, figures | judge(folder / "pipeline", sorted(kept)))
    return json.loads(record.read_text())


def judge(pipeline: Path, nouns: list[str]) -> dict[str, float]:
    """Return the top-1 rates of nouns and scenes in a pipeline's pictures, by the shipped scorer, and the pictures per second."""
    settings, rng = load_settings(), np.random.default_rng(UNSEEN + 6)
    base, scorer = load_base_model(str(pipeline), None, "auto"), load_scorer(settings.scorer.model, settings.scorer.pretrained, "auto")
    shown = [str(noun) for noun in rng.choice(nouns, 48, replace=False)]
    started = time.monotonic()
    pictures = draw(base, [f"a photo of {with_article(noun)}" for noun in shown for _ in range(2)], range(96))
    pace = 96 / (time.monotonic() - started)
    scenes = [scene for scene in SCENES if scene != "plain"] * 2
    texts = [crossed("a photo of", with_article(noun), SCENES[scene][0]) for noun, scene in zip(shown, scenes, strict=False)]
    placed = draw(base, texts, range(len(texts)))
    candidates = [f"a photo of {SCENES[scene][0]}" for scene in scenes[: len(scenes) // 2]]
    return {
        "noun_top1": top1(scorer, pictures, noun_texts(), [ALL_NOUNS.index(noun) for noun in shown for _ in range(2)]),
        "scene_top1": top1(scorer, placed, candidates, [index % len(candidates) for index in range(len(texts))]),
        "sampled_per_second": pace,
    }


def main(
    work: Annotated[Path, typer.Option(help="where flows.pretrain_base left its checkpoints")] = Path(".cache/pretraining"),
    only: Annotated[str | None, typer.Option(help="one design")] = None,
    steps: Annotated[int, typer.Option(help="optimizer steps of each design")] = 1500,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Train every design for the same few steps and compare it with the shipped one."""
    settings = load_settings()
    latents = sorted(work.glob("latents-*.pt"), key=lambda path: path.stat().st_mtime)
    if not latents:
        raise typer.BadParameter(f"{work} has no latents; run `python -m flows.pretrain_base --only generator` first")
    data = torch.load(latents[-1], weights_only=True)
    named = len(data["captions"]) - len(data["portraits"])
    data = {"posteriors": data["posteriors"][:named], "captions": data["captions"][:named]}
    data |= {"autoencoder": f"{settings.base.model}/vae"}
    data["scaling_factor"] = AutoencoderKL.load_config(data["autoencoder"])["scaling_factor"]
    figures = {name: train_and_judge(name, work, data, steps) for name in dict.fromkeys(["shipped", *([only] if only else DESIGNS)])}
    units = {"noun_top1": "% top-1 noun", "scene_top1": "% top-1 scene", "validation_loss": "loss", "pictures_per_second": "trained/s"}
    units["sampled_per_second"] = "sampled/s"
    rows = [Row(f"{name}: {what}", row[what], figures["shipped"][what], unit) for what, unit in units.items() for name, row in figures.items()]
    show("ablations", rows, "shipped", as_json)


if __name__ == "__main__":
    typer.run(main)
