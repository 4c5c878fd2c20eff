"""The cost of real base models: `python -m benchmarks.shapes [--json]` counts the operations of a training step and of a picture.

`python -m benchmarks.shapes --write sd15 FOLDER` writes a pipeline of that shape with random weights, since speed does not depend on their
values; `python -m benchmarks.inversion --model FOLDER` and `benchmarks.sampling --model FOLDER` then measure it on a GPU.
"""

from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImageTransformer2DModel,
)
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
)

from benchmarks.result import Row, show
from tasks.diffusion.memory import BYTES, in_fewer_bits
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
SD3 = {"attention_head_dim": 64, "joint_attention_dim": 4096, "pooled_projection_dim": 2048, "qk_norm": "rms_norm"}
TRANSFORMERS: dict[str, tuple[type, dict[str, Any]]] = {
    "sd35-medium": (
        SD3Transformer2DModel,
        SD3
        | {"num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536, "pos_embed_max_size": 384}
        | {"dual_attention_layers": tuple(range(13))},
    ),
    "sd35-large": (
        SD3Transformer2DModel,
        SD3 | {"num_layers": 38, "num_attention_heads": 38, "caption_projection_dim": 2432, "pos_embed_max_size": 192},
    ),
    "flux-dev": (FluxTransformer2DModel, {"guidance_embeds": True}),
    "z-image": (ZImageTransformer2DModel, {}),
}
"""Shape -> the class of its denoiser, and the configuration that its authors published."""
LANGUAGE_MODELS: dict[str, tuple[type, Any]] = {
    "T5-XXL": (
        T5EncoderModel,
        T5Config(vocab_size=32128, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64, feed_forward_proj="gated-gelu"),
    ),
    "Qwen3-4B": (
        Qwen3Model,
        Qwen3Config(hidden_size=2560, intermediate_size=9728, num_hidden_layers=36, num_attention_heads=32, num_key_value_heads=8, head_dim=128),
    ),
}
"""Text encoders of billions of weights, in the configurations that their authors published."""
SAMPLING = {"sd35-medium": (28, 2), "sd35-large": (28, 2), "flux-dev": (28, 1), "z-image": (8, 1)}
"""Shape -> the steps of a sample by the table of docs/gpu.md, and the passes of a step: one where guidance is distilled. Others have 50 and 2."""
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


def inputs_of(denoiser: Any, backward: bool) -> dict[str, Any]:
    """Return what a denoiser is called with for one picture of 1024 px, or of a UNet's own size; tensors without data."""
    tokens, width = (512, 4096) if isinstance(denoiser, FluxTransformer2DModel) else (333, 4096)
    if isinstance(denoiser, UNet2DConditionModel):
        side, width = denoiser.config.sample_size, denoiser.config.cross_attention_dim
        xl = denoiser.config.addition_embed_type == "text_time"
        added = {"text_embeds": torch.empty(1, 1280), "time_ids": torch.empty(1, 6)} if xl else None
        text = torch.empty(1, PROMPT_LENGTH, width, requires_grad=backward)
        return {"sample": torch.empty(1, 4, side, side), "timestep": torch.zeros(1), "encoder_hidden_states": text, "added_cond_kwargs": added}
    if isinstance(denoiser, ZImageTransformer2DModel):
        text = torch.empty(PROMPT_LENGTH, denoiser.config.cap_feat_dim, requires_grad=backward)
        return {"x": [torch.empty(16, 1, 128, 128)], "t": torch.zeros(1), "cap_feats": [text]}
    text = torch.empty(1, tokens, width, requires_grad=backward)
    shared = {"timestep": torch.zeros(1), "encoder_hidden_states": text}
    if isinstance(denoiser, FluxTransformer2DModel):
        places = {"img_ids": torch.zeros(64 * 64, 3), "txt_ids": torch.zeros(tokens, 3), "guidance": torch.ones(1)}
        return shared | places | {"hidden_states": torch.empty(1, 64 * 64, 64), "pooled_projections": torch.empty(1, 768)}
    return shared | {"hidden_states": torch.empty(1, 16, 128, 128), "pooled_projections": torch.empty(1, 2048)}


def flops(kind: type, config: dict[str, Any], backward: bool) -> float:
    """Count the operations of one picture's pass through a denoiser, and of the backward pass to the prompt; without data."""
    with torch.device("meta"):
        denoiser = kind(**config).requires_grad_(False)
        with FlopCounterMode(display=False) as counter:
            output = denoiser(**inputs_of(denoiser, backward), return_dict=False)[0]
            if backward:
                (output[0] if isinstance(output, list) else output).sum().backward()
    return float(counter.get_total_flops())


def sizes(model: nn.Module) -> dict[str, float]:
    """Return the GB of a model's weights with 16 bits, and with fewer bits in its blocks."""
    parts = [(part.numel(), in_fewer_bits(name, list(part.shape))) for name, part in model.named_parameters()]
    return {weights: sum(count * (BYTES.get(weights, 2.0) if fewer else 2.0) for count, fewer in parts) / 1e9 for weights in ("full", "8bit", "4bit")}


def weights_rows() -> list[Row]:
    """Return the sizes of the transformers and of the large text encoders."""
    with torch.device("meta"):
        models = {shape: kind(**config) for shape, (kind, config) in TRANSFORMERS.items()}
        models |= {name: kind(config) for name, (kind, config) in LANGUAGE_MODELS.items()}
    return [
        Row(f"{name}: GB of weights in {bits}, in 16 bits beside it", size[bits], size["full"], "GB")
        for name, size in ((name, sizes(model)) for name, model in models.items())
        for bits in BYTES
    ]


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
    shapes = {shape: (UNet2DConditionModel, config) for shape, config in UNETS.items()} | TRANSFORMERS
    for shape, (kind, config) in shapes.items():
        training, forward = flops(kind, config, backward=True), flops(kind, config, backward=False)
        with torch.device("meta"):
            weights = float(sum(part.numel() for part in kind(**config).parameters()))
        steps, passes = SAMPLING.get(shape, (SAMPLE_STEPS, 2))
        rows.append(Row(f"{shape}: 10^9 weights of the denoiser, their GB in bfloat16 beside it", weights / 1e9, 2 * weights / 1e9, "10^9, GB"))
        rows.append(Row(f"{shape}: one picture of a training step, a forward pass beside it", training / 1e12, forward / 1e12, "10^12 operations"))
        for card, peak in PEAKS.items():
            concept, picture = STEPS * BATCH * training / 1e12, passes * steps * forward / 1e12
            rows.append(
                Row(f"{shape} on {card} at {USED:.0%} of its peak: a concept, a sample beside it", concept / peak / USED, picture / peak / USED, "s")
            )
    show("shapes", rows + weights_rows(), "beside it", as_json)


if __name__ == "__main__":
    typer.run(main)
