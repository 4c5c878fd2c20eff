"""Our sampling against the call of diffusers' own pipeline: `python -m benchmarks.sampling [--model FOLDER] [--json]`.

Both use the same model, prompts, seeds, steps and guidance; the pipeline draws all pictures in one call. Rounds alternate; the best of each counts.
"""

import time
from typing import Annotated

import numpy as np
import torch
import typer
from diffusers import DDIMScheduler, DiffusionPipeline

from benchmarks.result import Row, show
from tasks.diffusion.base_model import BaseModel, load_base_model
from tasks.diffusion.ddim import generate
from tasks.registry.registered_model import as_called, left_out
from tasks.settings import load_settings
from tasks.shipped import folder_of


def plain_pipeline(base: BaseModel) -> DiffusionPipeline:
    """Return the base model as diffusers' own pipeline, in the denoiser's float type and without a safety checker."""
    model = base.identity["model"]
    unused = left_out(DiffusionPipeline.load_config(model))
    pipeline = DiffusionPipeline.from_pretrained(model, **unused, dtype=base.denoiser.dtype, low_cpu_mem_usage=False)
    return pipeline.to(base.device)


def main(
    pictures: Annotated[int, typer.Option(help="pictures in a round")] = 64,
    rounds: Annotated[int, typer.Option(help="the best round of each counts")] = 3,
    model: Annotated[str | None, typer.Option(help="another base model's folder")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Measure pictures per second, and the mean difference between the two sets of pictures."""
    settings = load_settings()
    name = model or settings.base.model
    base = load_base_model(str(folder_of(name) or name), None, settings.runtime.device)
    steps, guidance_scale = settings.sample.look(base.look)
    pipeline = plain_pipeline(base)
    if hasattr(pipeline, "unet"):  # a transformer of rectified flow keeps its own sampler
        pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    look = as_called(pipeline, guidance_scale, None)
    pipeline.set_progress_bar_config(disable=True)
    prompts = [f"a photo of a {noun} on the {scene}" for noun in ("cat", "car", "apple", "rocket") for scene in ("moon", "beach")]
    prompts = [prompts[index % len(prompts)] for index in range(pictures)]
    seeds = list(range(pictures))
    ours, theirs = [], []
    for _ in range(rounds):
        started = time.monotonic()
        drawn = list(generate(base, prompts, seeds, {}, steps, guidance_scale, settings.runtime.pictures_per_batch))
        ours.append(pictures / (time.monotonic() - started))
        started = time.monotonic()
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        peer = pipeline(prompts, num_inference_steps=steps, **look, generator=generators).images
        theirs.append(pictures / (time.monotonic() - started))
    difference = np.mean([np.abs(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)).mean() for a, b in zip(drawn, peer, strict=True)])
    rows = [
        Row(f"{pictures} pictures, {steps} steps, guidance {guidance_scale:g}", max(ours), max(theirs), "pictures/s"),
        Row("mean difference of the pictures, one grey level allowed", float(difference), 1.0, "grey levels"),
    ]
    show("sampling", rows, "diffusers", as_json)


if __name__ == "__main__":
    typer.run(main)
