"""Many LoRAs in one batch against one at a time: `python -m benchmarks.adapters [--steps N] [--json]`. Needs peft, from the extra `test`.

Two peers, both one concept after the other: our own training of a single concept, and a minimal re-statement of diffusers' example
`train_dreambooth_lora.py`: peft's layers on the attention, the pictures and the captions encoded anew in every step. Its pictures are decoded
and resized beforehand, which favours it. All see the same model, pictures, layers, rank, batch size and number of optimizer steps.
"""

import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from diffusers import DDPMScheduler, DiffusionPipeline
from PIL import Image

from benchmarks.inversion import WORD, draw_pictures, measured
from benchmarks.result import Row, show
from benchmarks.sampling import plain_pipeline
from tasks.diffusion.base_model import BaseModel, load_base_model
from tasks.diffusion.ddim import encode
from tasks.diffusion.templates import OBJECT_TEMPLATES
from tasks.inversion.adapter import Adapter, new_lora
from tasks.inversion.loop import train
from tasks.inversion.training import Training, new_training
from tasks.settings import load_settings

RATE = 1e-3


def new_adapter(base: BaseModel, number: int, layers: str, rank: int, batch_size: int, steps: int) -> Training:
    """Return the training of a LoRA around a word that is held fixed."""
    name, latents = f"word{number}", encode(base, draw_pictures(base.resolution, number))
    training = new_training(base, name, f"<{name}>", WORD, "object", OBJECT_TEMPLATES, latents, 1, batch_size, RATE, steps, (0.0, 1.0), 0.0, number)
    training.trainable.rows.requires_grad_(False)
    training.trainable = Adapter(training.trainable, new_lora(base, layers, rank, number, name), RATE)
    return training


def train_ours(base: BaseModel, trainings: list[Training]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = {training.concept: Path(folder) / f"{training.concept}.pt" for training in trainings}
        list(train(base, trainings, paths, checkpoint_every=1 << 20, at_once=len(trainings)))


def train_like_the_example(pipeline: DiffusionPipeline, pictures: list[Image.Image], rank: int, batch_size: int, steps: int) -> None:
    """Train one LoRA of the attention as diffusers' example does."""
    from peft import LoraConfig

    tokenizer, text_encoder, vae, unet = pipeline.tokenizer, pipeline.text_encoder, pipeline.vae, pipeline.unet
    for part in (vae, unet, text_encoder):
        part.requires_grad_(False)
    unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=["to_k", "to_q", "to_v", "to_out.0"]))
    optimizer = torch.optim.AdamW([parameter for parameter in unet.parameters() if parameter.requires_grad], lr=RATE)
    noise_scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
    pixels = torch.stack([torch.from_numpy(np.asarray(picture)).permute(2, 0, 1).to(unet.dtype) / 127.5 - 1 for picture in pictures])
    for _ in range(steps):
        chosen = torch.randint(len(pixels), (batch_size,))
        input_ids = tokenizer([f"a photo of {WORD}"] * batch_size, padding="max_length", truncation=True, return_tensors="pt").input_ids
        latents = vae.encode(pixels[chosen].to(vae.device)).latent_dist.sample() * vae.config.scaling_factor
        noise, timesteps = torch.randn_like(latents), torch.randint(0, noise_scheduler.config.num_train_timesteps, (batch_size,), device=vae.device)
        noisy_latents = noise_scheduler.add_noise(latents, noise, timesteps)
        prediction = unet(noisy_latents, timesteps, text_encoder(input_ids.to(vae.device))[0].to(unet.dtype)).sample
        target = noise_scheduler.get_velocity(latents, noise, timesteps) if noise_scheduler.config.prediction_type == "v_prediction" else noise
        F.mse_loss(prediction.float(), target.float()).backward()
        optimizer.step()
        optimizer.zero_grad()
    unet.unload_lora()


def main(
    steps: Annotated[int, typer.Option(help="optimizer steps of each LoRA in a round")] = 20,
    rounds: Annotated[int, typer.Option(help="the best round of each counts")] = 3,
    concepts: Annotated[int, typer.Option(help="LoRAs in the batch")] = 8,
    rank: Annotated[int, typer.Option(help="of each LoRA")] = 4,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Measure LoRA-steps per second, all in one batch against one after the other."""
    settings = load_settings()
    base, batch_size = load_base_model(settings.base.model, None, settings.runtime.device), settings.invert.batch_size
    pipeline, pictures = plain_pipeline(base), draw_pictures(base.resolution, 0)
    seconds: dict[str, list[float]] = {}
    for _ in range(rounds):
        for layers in ("attention", "convolutions"):
            together = [new_adapter(base, number, layers, rank, batch_size, steps) for number in range(concepts)]
            alone = new_adapter(base, 0, layers, rank, batch_size, steps)
            seconds.setdefault(f"{layers}, in a batch", []).append(measured(lambda some=together: train_ours(base, some))[0] / concepts)  # type: ignore[misc]
            seconds.setdefault(f"{layers}, alone", []).append(measured(lambda one=alone: train_ours(base, [one]))[0])  # type: ignore[misc]
        peer = measured(lambda: train_like_the_example(pipeline, pictures, rank, batch_size, steps))[0]
        seconds.setdefault("diffusers", []).append(peer)
    pace = {case: steps / min(times) for case, times in seconds.items()}
    rows = [
        Row(f"{concepts} LoRAs of the attention, diffusers' way one by one", pace["attention, in a batch"], pace["diffusers"], "LoRA-steps/s"),
        *(
            Row(f"{concepts} LoRAs of {layers}, ours one by one", pace[f"{layers}, in a batch"], pace[f"{layers}, alone"], "LoRA-steps/s")
            for layers in ("attention", "convolutions")
        ),
    ]
    show("adapters", rows, "one by one", as_json)


if __name__ == "__main__":
    typer.run(main)
