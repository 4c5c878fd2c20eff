"""Many words at once against one word at a time: `python -m benchmarks.inversion [--steps N] [--json]`.

The peer is a minimal version of diffusers' example `textual_inversion.py`: AdamW trains the whole embedding table, its old rows are copied
back after every step, the pictures are encoded again in every step, and one concept follows the other. Its pictures are decoded and resized
beforehand, which favours it. Both use the same model, pictures, batch size and number of optimizer steps. Rounds alternate, so that noise of
the machine affects both.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from diffusers import DDPMScheduler, DiffusionPipeline
from PIL import Image

from benchmarks.result import Row, show
from benchmarks.sampling import plain_pipeline
from benchmarks.shapes import flops
from tasks.diffusion.base_model import BaseModel, load_base_model
from tasks.diffusion.ddim import encode
from tasks.diffusion.templates import OBJECT_TEMPLATES
from tasks.inversion.loop import train
from tasks.inversion.training import new_training
from tasks.settings import load_settings

PICTURES = 4  # of a concept
WORD = "apple"


def draw_pictures(side: int, concept: int) -> list[Image.Image]:
    """Return pictures of noise; speed does not depend on what they show."""
    pixels = np.random.default_rng(concept).integers(0, 256, (PICTURES, side, side, 3), dtype=np.uint8)
    return [Image.fromarray(picture) for picture in pixels]


def train_ours(base: BaseModel, concepts: int, batch_size: int, learning_rate: float, steps: int) -> None:
    words = []
    for concept in range(concepts):
        latents = encode(base, draw_pictures(base.resolution, concept))
        name = f"word{concept}"
        words.append(
            new_training(
                base,
                name,
                f"<{name}>",
                WORD,
                "object",
                OBJECT_TEMPLATES,
                latents,
                1,
                batch_size,
                learning_rate,
                steps,
                (0.0, 1.0),
                average_last=0.5,
                seed=concept,
            )
        )
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = {word.concept: Path(folder) / f"{word.concept}.pt" for word in words}
        list(train(base, words, checkpoints, checkpoint_every=steps + 1, at_once=concepts))


def train_like_the_example(pipeline: DiffusionPipeline, pictures: list[Image.Image], batch_size: int, learning_rate: float, steps: int) -> None:
    """Train one concept as diffusers' example does."""
    tokenizer, text_encoder, vae, unet = pipeline.tokenizer, pipeline.text_encoder, pipeline.vae, pipeline.unet
    tokenizer.add_tokens("<peer>")
    new_id = tokenizer.convert_tokens_to_ids("<peer>")
    text_encoder.float().resize_token_embeddings(len(tokenizer))  # the frozen parts may be in float16
    table = text_encoder.get_input_embeddings().weight
    with torch.no_grad():
        table[new_id] = table[tokenizer.encode(WORD, add_special_tokens=False)[0]]
    for part in (vae, unet, text_encoder):
        part.requires_grad_(False)
    table.requires_grad_(True)
    text_encoder.train()
    optimizer = torch.optim.AdamW([table], lr=learning_rate, betas=(0.9, 0.999), weight_decay=1e-2, eps=1e-8)
    noise_scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
    original, old_rows = table.detach().clone(), torch.arange(len(tokenizer)) != new_id
    pixels = torch.stack([torch.from_numpy(np.asarray(picture)).permute(2, 0, 1).to(unet.dtype) / 127.5 - 1 for picture in pictures]).to(table.device)
    for _ in range(steps):
        chosen = torch.randint(len(pixels), (batch_size,))
        captions = [OBJECT_TEMPLATES[index].format("<peer>") for index in torch.randint(len(OBJECT_TEMPLATES), (batch_size,)).tolist()]
        input_ids = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids.to(table.device)
        latents = vae.encode(pixels[chosen]).latent_dist.sample().detach() * vae.config.scaling_factor
        noise = torch.randn_like(latents)
        timesteps = torch.randint(0, noise_scheduler.config.num_train_timesteps, (batch_size,), device=latents.device)
        noisy_latents = noise_scheduler.add_noise(latents, noise, timesteps)
        prediction = unet(noisy_latents, timesteps, text_encoder(input_ids)[0].to(unet.dtype)).sample
        target = noise_scheduler.get_velocity(latents, noise, timesteps) if noise_scheduler.config.prediction_type == "v_prediction" else noise
        F.mse_loss(prediction.float(), target.float()).backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            table[old_rows] = original[old_rows]


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that `work` took and, on a GPU, its peak memory in GB; on a CPU memory is not measured, since the heap is shared."""
    if not torch.cuda.is_available():
        started = time.monotonic()
        work()
        return time.monotonic() - started, 0.0
    torch.cuda.reset_peak_memory_stats()
    started = time.monotonic()
    work()
    torch.cuda.synchronize()
    return time.monotonic() - started, torch.cuda.max_memory_allocated() / 2**30


def matrix_peak(device: torch.device, dtype: torch.dtype, side: int = 8192) -> float:
    """Return the operations per second of a large matrix product on a GPU."""
    matrix = torch.randn(side, side, device=device, dtype=dtype)
    seconds = min(measured(lambda: matrix @ matrix)[0] for _ in range(10))
    return 2 * side**3 / seconds


def main(
    steps: Annotated[int, typer.Option(help="optimizer steps of each concept in a round")] = 20,
    rounds: Annotated[int, typer.Option(help="the best round of each counts")] = 3,
    model: Annotated[str | None, typer.Option(help="another base model's folder")] = None,
    most: Annotated[int, typer.Option(help="concepts in the largest batch")] = 16,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Measure concept-steps per second for 1, 2, 4 ... concepts; on a GPU also peak memory and the share of its matrix peak."""
    settings = load_settings()
    rules = settings.invert
    base = load_base_model(model or settings.base.model, None, settings.runtime.device)
    pipeline = plain_pipeline(base)
    pictures = draw_pictures(base.resolution, 0)

    def peer() -> None:
        train_like_the_example(pipeline, pictures, rules.batch_size, rules.learning_rate, steps)

    rows = []
    if torch.cuda.is_available():
        picture_flops, peak = flops(type(base.denoiser), dict(base.denoiser.config), True), matrix_peak(base.device, base.denoiser.dtype)
    for concepts in (number for number in (1, 2, 4, 8, 16, 32) if number <= most):
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(measured(lambda n=concepts: train_ours(base, n, rules.batch_size, rules.learning_rate, steps)))  # type: ignore[misc]
            theirs.append(measured(peer))
        rows.append(Row(f"{concepts} concepts in a batch", concepts * steps / min(ours)[0], steps / min(theirs)[0], "concept-steps/s"))
        if torch.cuda.is_available():
            rows.append(Row(f"{concepts} concepts in a batch, peak", max(memory for _, memory in ours), max(memory for _, memory in theirs), "GB"))
            reached = concepts * steps * rules.batch_size * picture_flops / min(ours)[0]
            rows.append(Row(f"{concepts} concepts in a batch, of the measured matrix peak", reached / 1e12, peak / 1e12, "10^12 operations/s"))
    show("inversion", rows, "diffusers' way", as_json)


if __name__ == "__main__":
    typer.run(main)
