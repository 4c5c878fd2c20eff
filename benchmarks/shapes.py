"""The cost of real base models: `python -m benchmarks.shapes [--json]` counts the operations of a training step and of a picture.

`python -m benchmarks.shapes --write sd15 FOLDER` writes a pipeline of that shape with random weights, since speed does not depend on their
values; `python -m benchmarks.inversion --model FOLDER` and `benchmarks.sampling --model FOLDER` then measure it on a GPU.
"""

from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from benchmarks.result import Row, show
from tasks.settings import load_settings

UNETS: dict[str, dict[str, Any]] = {
    "sd15": {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
    "sdxl": {
        "sample_size": 128,
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}
VIT_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12, "projection_dim": 768}
BIG_G = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20, "projection_dim": 1280}
PROMPT_LENGTH = 77
STEPS, BATCH = 3000, 4  # for a concept; the README's cap for Stable Diffusion is 5000, and the early stop ends before it
SAMPLE_STEPS = 50
PEAKS = {"RTX 3060": 51, "RTX 4090": 165, "A100": 312, "H100": 989}
"""Peak rates of dense bf16 matrix operations with float32 sums, in 10^12 per second, from the makers' data sheets."""
USED = 0.4  # the assumed share of the peak


def write_pipeline(shape: str, folder: Path) -> None:
    """Write a pipeline of a shape as a diffusers folder in float16, with random weights and the embedded model's tokenizer."""
    tokenizer = CLIPTokenizer.from_pretrained(load_settings().base.model, subfolder="tokenizer", model_max_length=PROMPT_LENGTH)
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
    )
    parts = {"vae": vae, "unet": UNet2DConditionModel(**UNETS[shape]), "tokenizer": tokenizer, "scheduler": DDIMScheduler(steps_offset=1)}
    first = CLIPTextModel(CLIPTextConfig(**VIT_L, **ids, max_position_embeddings=PROMPT_LENGTH))
    pipeline: DiffusionPipeline
    if shape == "sdxl":
        second = CLIPTextModelWithProjection(CLIPTextConfig(**BIG_G, **ids, max_position_embeddings=PROMPT_LENGTH))
        pipeline = StableDiffusionXLPipeline(**parts, text_encoder=first, text_encoder_2=second, tokenizer_2=tokenizer)
    else:
        pipeline = StableDiffusionPipeline(**parts, text_encoder=first, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipeline.to(torch.float16).save_pretrained(folder)


def flops(config: dict[str, Any], backward: bool) -> float:
    """Count the operations of one picture's pass through a denoiser, and of the backward pass to the prompt, on tensors without data."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(**config).requires_grad_(False)
        side, width = unet.config.sample_size, unet.config.cross_attention_dim
        hidden = torch.empty(1, PROMPT_LENGTH, width, requires_grad=backward)
        added = {"text_embeds": torch.empty(1, 1280), "time_ids": torch.empty(1, 6)} if unet.config.addition_embed_type == "text_time" else None
        with FlopCounterMode(display=False) as counter:
            output = unet(torch.empty(1, 4, side, side), torch.zeros(1), hidden, added_cond_kwargs=added).sample
            if backward:
                output.sum().backward()
    return float(counter.get_total_flops())


def main(
    write: Annotated[str | None, typer.Option(help="the shape to write instead: sd15 or sdxl")] = None,
    folder: Annotated[Path | None, typer.Argument(help="the folder to write it to")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Count what a concept costs, or write a pipeline of a shape."""
    if bool(write) != bool(folder):
        raise typer.BadParameter("--write and FOLDER go together: the shape, and where it is written")
    if write and folder:
        write_pipeline(write, folder)
        return
    rows = []
    for shape, config in UNETS.items():
        training, forward = flops(config, backward=True), flops(config, backward=False)
        rows.append(Row(f"{shape}: one picture of a training step, a forward pass beside it", training / 1e12, forward / 1e12, "10^12 operations"))
        for card, peak in PEAKS.items():
            concept, picture = STEPS * BATCH * training / 1e12, 2 * SAMPLE_STEPS * forward / 1e12
            rows.append(
                Row(f"{shape} on {card} at {USED:.0%} of its peak: a concept, a sample beside it", concept / peak / USED, picture / peak / USED, "s")
            )
    show("shapes", rows, "beside it", as_json)


if __name__ == "__main__":
    typer.run(main)
