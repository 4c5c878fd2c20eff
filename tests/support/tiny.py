"""Random pipelines of 4 MB, one of each family, and a random CLIP: real classes and real files, no training."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    LDMTextToImagePipeline,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from diffusers.pipelines.latent_diffusion.pipeline_latent_diffusion import LDMBertConfig, LDMBertModel
from safetensors.torch import save_file
from transformers import (
    BertTokenizer,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Dinov2Config,
    Dinov2Model,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
    ViTImageProcessor,
)

from tasks.diffusion.families.parts import left_out

WORDS = (
    "a an the of on in and with style photo picture painting oil pencil sketch cat dog bird fox coffee teapot alien robot cartoon moon beach apple"
)
CONTEXT_LENGTH = 24
RESOLUTION = 16  # px
LETTERS = [*"abcdefghijklmnopqrstuvwxyz0123456789<>_,.-!"]


def save_tiny_pipeline(folder: Path, seed: int = 0, family: str = "sd1") -> Path:
    """Write a diffusers folder that makes pictures of 16 x 16 px and return it; one seed gives the same bytes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        FAMILIES[family]().save_pretrained(folder)
    return folder


def plain_pipeline(folder: Path) -> Any:
    """Load a folder as a user of diffusers does."""
    pipeline = DiffusionPipeline.from_pretrained(folder, **left_out(DiffusionPipeline.load_config(folder)))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def tiny_text_config(tokenizer: CLIPTokenizer, width: int = 32) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=CONTEXT_LENGTH,
        projection_dim=32,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def tiny_unet(cross_attention_dim: int = 32, **changes: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=RESOLUTION // 2,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=cross_attention_dim,
        attention_head_dim=8,
        norm_num_groups=8,
        **changes,
    )


def tiny_vae(**changes: Any) -> AutoencoderKL:
    return AutoencoderKL(
        sample_size=RESOLUTION,
        block_out_channels=(16, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        **changes,
    )


def tiny_noise_scheduler(prediction_type: str = "epsilon") -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction_type,
    )


def tiny_sd(prediction_type: str = "epsilon", width: int = 32) -> StableDiffusionPipeline:
    """Build the pipeline from configs; the weights come from torch's global generator."""
    tokenizer = tiny_tokenizer()
    unet, vae = tiny_unet(width), tiny_vae()
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(tiny_text_config(tokenizer, width)),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=tiny_noise_scheduler(prediction_type),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def tiny_sdxl() -> StableDiffusionXLPipeline:
    """Two text encoders of different widths, a pooled prompt, and the sizes of the picture."""
    first, second = tiny_tokenizer(), tiny_tokenizer()
    second.pad_token = "!"
    added = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 32 + 6 * 8}
    return StableDiffusionXLPipeline(
        vae=tiny_vae(),
        text_encoder=CLIPTextModel(tiny_text_config(first)),
        text_encoder_2=CLIPTextModelWithProjection(tiny_text_config(second, 48)),
        tokenizer=first,
        tokenizer_2=second,
        unet=tiny_unet(32 + 48, **added),
        scheduler=tiny_noise_scheduler(),
    )


def tiny_ldm() -> LDMTextToImagePipeline:
    """The paper's family: a BERT encoder of its own making."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {token: index for index, token in enumerate([*special, *WORDS.split(), *LETTERS, *(f"##{letter}" for letter in LETTERS)])}
    sizes = {"encoder_layers": 2, "encoder_ffn_dim": 64, "encoder_attention_heads": 2, "head_dim": 16, "d_model": 32}
    config = LDMBertConfig(vocab_size=len(vocabulary), max_position_embeddings=77, **sizes)
    return LDMTextToImagePipeline(
        vqvae=tiny_vae(), bert=LDMBertModel(config), tokenizer=BertTokenizer(vocab=vocabulary), unet=tiny_unet(), scheduler=tiny_noise_scheduler()
    )


def tiny_t5() -> tuple[T5Tokenizer, T5EncoderModel]:
    """A SentencePiece tokenizer, and an encoder whose table is larger than the vocabulary, as T5-XXL's is."""
    words = [f"▁{word}" for word in WORDS.split()]
    special = ["<pad>", "</s>", "<unk>"]
    pieces = [(piece, 0.0 if piece in special else -float(len(WORDS)) / len(piece)) for piece in [*special, "▁", *words, *LETTERS]]
    tokenizer = T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=512)
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    return tokenizer, T5EncoderModel(T5Config(vocab_size=len(tokenizer) + 28, feed_forward_proj="gated-gelu", **sizes))


def tiny_clip_with_projection(width: int) -> CLIPTextModelWithProjection:
    return CLIPTextModelWithProjection(tiny_text_config(tiny_tokenizer(), width))


def tiny_sd3(with_t5: bool = True, dual: bool = False) -> StableDiffusion3Pipeline:
    """Two CLIPs and T5 before a transformer of two streams. dual: with the second attention and the norms of 3.5."""
    tokenizer, t5 = tiny_t5() if with_t5 else (None, None)
    transformer = SD3Transformer2DModel(
        sample_size=RESOLUTION // 2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=96,
        caption_projection_dim=32,
        pooled_projection_dim=64,
        pos_embed_max_size=8,
        dual_attention_layers=(0,) if dual else (),
        qk_norm="rms_norm" if dual else None,
    )
    if t5:
        t5 = T5EncoderModel(T5Config(**t5.config.to_dict() | {"d_model": 96}))
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=tiny_vae(scaling_factor=1.5, shift_factor=0.06),
        text_encoder=tiny_clip_with_projection(32),
        tokenizer=tiny_tokenizer(),
        text_encoder_2=tiny_clip_with_projection(48),
        tokenizer_2=tiny_tokenizer(),
        text_encoder_3=t5,
        tokenizer_3=tokenizer,
    )


def tiny_flux(guidance_embeds: bool = True) -> FluxPipeline:
    """CLIP's pooled prompt and T5 before a transformer of two streams that become one. guidance_embeds: dev, else schnell."""
    tokenizer, t5 = tiny_t5()
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        guidance_embeds=guidance_embeds,
        axes_dims_rope=(4, 6, 6),
    )
    return FluxPipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0 if guidance_embeds else 1.0, use_dynamic_shifting=guidance_embeds),
        vae=tiny_vae(scaling_factor=1.5, shift_factor=0.06),
        text_encoder=CLIPTextModel(tiny_text_config(tiny_tokenizer())),
        tokenizer=tiny_tokenizer(),
        text_encoder_2=t5,
        tokenizer_2=tokenizer,
    )


def tiny_z_image() -> ZImagePipeline:
    """A language model before a transformer of one stream."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    letters = [*LETTERS, "Ġ", "Ċ"]
    merges: list[tuple[str, str]] = []
    for word in WORDS.split():
        piece = "Ġ"
        for letter in word:
            if (piece, letter) not in merges:
                merges.append((piece, letter))
            piece += letter
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys([*letters, *map("".join, merges), *special]))}
    template = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=merges, chat_template=template, extra_special_tokens=special[1:], model_max_length=512)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}
    return ZImagePipeline(
        transformer=ZImageTransformer2DModel(
            in_channels=4, dim=32, n_layers=2, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=32, axes_dims=[4, 6, 6]
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=tiny_vae(scaling_factor=1.5, shift_factor=0.06),
        text_encoder=Qwen3Model(Qwen3Config(vocab_size=len(tokenizer) + 20, **sizes)),
        tokenizer=tokenizer,
    )


FAMILIES: dict[str, Callable[[], DiffusionPipeline]] = {
    "sd1": tiny_sd,
    "sd2": lambda: tiny_sd("v_prediction", width=48),
    "sd2-wide": lambda: tiny_sd("v_prediction", width=1024),
    "sdxl": tiny_sdxl,
    "ldm": tiny_ldm,
    "sd3": tiny_sd3,
    "sd3-without-t5": lambda: tiny_sd3(with_t5=False),
    "sd35": lambda: tiny_sd3(dual=True),
    "flux-dev": tiny_flux,
    "flux-schnell": lambda: tiny_flux(guidance_embeds=False),
    "z-image": tiny_z_image,
}
FLOWS = ("sd3", "sd3-without-t5", "sd35", "flux-dev", "flux-schnell", "z-image")
"""The families of rectified flow."""


def save_tiny_scorer(folder: Path, seed: int = 0) -> Path:
    """Write a folder that `load_scorer("local-dir:FOLDER", None, device)` loads and return it; one seed gives the same bytes."""
    tokenizer = tiny_tokenizer()
    vision = {"image_size": 32, "patch_size": 8, "layers": 2, "width": 32, "head_width": 16}
    sizes = {"context_length": CONTEXT_LENGTH, "vocab_size": len(tokenizer), "width": 32, "heads": 2, "layers": 2}
    text = {**sizes, "hf_tokenizer_name": "tiny-clip"}  # with this open_clip reads the tokenizer that lies in the same folder
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.model.CLIP(16, open_clip.CLIPVisionCfg(**vision), open_clip.CLIPTextCfg(**text))
    tokenizer.save_pretrained(folder)
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": preprocess})
    )
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    return folder


def save_tiny_eye(folder: Path, seed: int = 0) -> Path:
    """Write a random DINOv2 of 14 px patches, as its authors' folders are laid out, and return the folder; one seed gives the same bytes."""
    side = {"height": 28, "width": 28}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        Dinov2Model(Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14)).save_pretrained(folder)
    ViTImageProcessor(size=side).save_pretrained(folder)
    return folder


def tiny_tokenizer(words: str = WORDS) -> CLIPTokenizer:
    """Return a CLIP tokenizer that reads each of `words` as one token and spells the rest; `<|endoftext|>` has the highest id."""
    merges: list[tuple[str, str]] = []
    for word in words.split():
        while len(pieces := merged(word, merges)) > 1:
            merges.append((pieces[0], pieces[1]))
    tokens = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), *map("".join, merges), "<|startoftext|>", "<|endoftext|>"]
    vocab = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=CONTEXT_LENGTH)


def merged(word: str, merges: Sequence[tuple[str, str]]) -> list[str]:
    """Return the pieces of a word after every merge in order; later merges cannot break a word that is whole already."""
    pieces = [*word[:-1], f"{word[-1]}</w>"]
    for left, right in merges:
        index = 0
        while index < len(pieces) - 1:
            if (pieces[index], pieces[index + 1]) == (left, right):
                pieces[index : index + 2] = [left + right]
            index += 1
    return pieces
