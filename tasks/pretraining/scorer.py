"""The embedded scorer: a small CLIP that shares nothing with the generator it judges."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTokenizer

from tasks.pretraining.autoencoder import to_tensor
from tasks.pretraining.tokenizer import CONTEXT_LENGTH
from tasks.pretraining.training import train

WEIGHTS = "open_clip_model.safetensors"
IMAGE_SIZE = 96  # px
RIVALS = 300  # other things that a picture's own things are told apart from
TELLING_WEIGHT = 0.25  # at 1 the model learns only nouns
PREPROCESS = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic", "resize_mode": "shortest"}


def scorer_config(vocab_size: int) -> dict:
    """Return the open_clip configuration: a ResNet for 96 px pictures, three text layers, 128 shared dimensions.

    The world's 64 px pictures are enlarged, because the ResNet would reduce them to 2 x 2 positions, too few for two things.
    """
    return {
        "embed_dim": 128,
        "vision_cfg": {"image_size": IMAGE_SIZE, "layers": [1, 1, 2, 1], "width": 32, "head_width": 64},
        # `hf_tokenizer_name` makes open_clip read the tokenizer that lies in the same folder.
        "text_cfg": {
            "context_length": CONTEXT_LENGTH,
            "vocab_size": vocab_size,
            "width": 128,
            "heads": 4,
            "layers": 3,
            "hf_tokenizer_name": "emoji-clip",
        },
    }


def augment(pictures: Tensor, generator: torch.Generator, side: int = IMAGE_SIZE, shift: float = 0.2) -> Tensor:
    """Shift, scale, recolour, blur, add noise and enlarge, picture by picture: (n, 3, h, w) in [-1, 1] -> (n, 3, side, side).

    shift: the most that a channel is shifted.
    """
    n, device = len(pictures), pictures.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(n, *shape, generator=generator, device=device)

    theta = torch.zeros(n, 2, 3, device=device)
    theta[:, 0, 0] = uniform(0.8, 1.1)
    theta[:, 1, 1] = theta[:, 0, 0] * uniform(0.93, 1.07)
    theta[:, :, 2] = uniform(-0.12, 0.12, 2)
    moved = F.grid_sample(pictures, F.affine_grid(theta, list(pictures.shape), align_corners=False), padding_mode="border", align_corners=False)
    coloured = moved * uniform(0.8, 1.15, 1, 1, 1) + uniform(-shift, shift, 3, 1, 1)
    blurred = F.interpolate(F.avg_pool2d(coloured, 2), scale_factor=2, mode="bilinear", align_corners=False)
    mix = uniform(-0.6, 1.0, 1, 1, 1).clamp(0, 1)
    noise = torch.randn(pictures.shape, generator=generator, device=device) * uniform(-0.05, 0.12, 1, 1, 1).clamp(min=0)
    noisy = (coloured.lerp(blurred, mix) + noise).clamp(-1, 1)
    return F.interpolate(noisy, side, mode="bicubic", antialias=True).clamp(-1, 1)  # `antialias` matches Pillow, which open_clip uses


def train_scorer(
    pictures: np.ndarray,
    captions: Sequence[tuple[str, str, str]],
    shown: Sequence[Sequence[int]],
    things: Sequence[str],
    repainted: Sequence[Sequence[str]],
    tokenizer: CLIPTokenizer,
    folder: Path,
    max_train_steps: int,
    start: Path | None = None,
    batch: int = 128,
    peak: float = 1e-3,
) -> nn.Module:
    """Train with the symmetric contrastive loss of CLIP (Radford et al. 2021) on augmented composites.

    captions: three for each picture: the full one, one that names only its things, one that names only its medium and scene.
    A batch is matched with the full ones and with one of the parts. Without the parts, the noun alone would tell most captions of a
    batch apart, and the model would learn little about media and scenes.
    shown: the indices of each picture's things; things: a text for each thing of the world. Each picture's things are also told apart
    from `RIVALS` others: a batch alone gives too few wrong answers, and the matching loss does not help with two small things.
    repainted: for each picture of a painted thing, a text with its colour, then one with every other colour; empty for the rest.
    The right colour is told apart from the others, because the loss on nouns alone makes the model forget colours (hard negatives,
    Yuksekgonul et al. 2023).
    start: the folder of a scorer whose training is continued.
    """
    config = scorer_config(len(tokenizer))
    model = open_clip.model.CLIP(config["embed_dim"], open_clip.CLIPVisionCfg(**config["vision_cfg"]), open_clip.CLIPTextCfg(**config["text_cfg"]))
    if start:
        model.load_state_dict(load_file(start / WEIGHTS))  # float16 is widened as it is copied
    full, *parts, thing_tokens = (
        tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt").input_ids
        for texts in (*zip(*captions, strict=True), things)
    )
    colours = max(len(texts) for texts in repainted)
    painted = torch.tensor([bool(texts) for texts in repainted])
    choices = torch.zeros(len(pictures), colours, thing_tokens.shape[1], dtype=torch.long)
    flat = [text for texts in repainted for text in texts]
    choices[painted] = tokenizer(flat, padding="max_length", truncation=True, return_tensors="pt").input_ids.unflatten(0, (-1, colours))
    truth = torch.zeros(len(pictures), len(things))
    for row, indices in enumerate(shown):
        truth[row, list(indices)] = 1 / len(indices)

    def loss(model: open_clip.model.CLIP, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
        rows = rng.integers(len(pictures), size=batch)
        images = augment(to_tensor(pictures[rows]).to(generator.device), generator)
        image_features = model.encode_image(images.contiguous(memory_format=torch.channels_last), normalize=True)
        image_features = model.logit_scale.exp().clamp(max=100) * image_features
        part = parts[rng.integers(len(parts))]
        losses = [contrast(image_features, model, tokens[rows].to(generator.device)) for tokens in (full, part)]
        right = truth[rows].any(dim=0)
        candidates = right | torch.from_numpy(rng.random(len(right)) < RIVALS / len(right))
        logits = image_features @ text_features(model, thing_tokens[candidates].to(generator.device)).T
        losses.append(TELLING_WEIGHT * F.cross_entropy(logits, truth[rows][:, candidates].to(generator.device)))
        coloured = painted[rows]
        texts = text_features(model, choices[rows][coloured].flatten(0, 1).to(generator.device)).unflatten(0, (-1, colours))
        first = torch.zeros(len(texts), dtype=torch.long, device=generator.device)  # the first text has the right colour
        colour_loss = F.cross_entropy((image_features[coloured, None] * texts).sum(dim=2), first, reduction="sum")
        losses.append(TELLING_WEIGHT * colour_loss / max(len(texts), 1))  # in a batch without painted things the mean would be NaN
        return torch.stack(losses).sum()

    return train("scorer", model, loss, folder, max_train_steps, peak, weight_decay=0.1)


def contrast(image_features: Tensor, model: open_clip.model.CLIP, tokens: Tensor) -> Tensor:
    """Match scaled features (n, dim) with the texts of their rows (n, length); equal texts are all right answers and are encoded once."""
    texts, answer = tokens.unique(dim=0, return_inverse=True)
    logits = image_features @ text_features(model, texts).T
    right = F.one_hot(answer, len(texts)).T.float()
    return (F.cross_entropy(logits, answer) + F.cross_entropy(logits.T, right / right.sum(dim=1, keepdim=True))) / 2


def text_features(model: open_clip.model.CLIP, tokens: Tensor) -> Tensor:
    """Return normalised features (n, dim) of texts (n, length), as the model's `encode_text` does, without computing the padding.

    Attention is causal, so the tokens up to a text's end do not depend on the padding.
    """
    ends = tokens.argmax(dim=1)  # the end's id is the highest; padding repeats it
    length = int(ends.max()) + 1
    hidden = model.token_embedding(tokens[:, :length]) + model.positional_embedding[:length]
    hidden = model.ln_final(model.transformer(hidden, attn_mask=model.attn_mask[:length, :length]))
    return F.normalize(hidden[torch.arange(len(tokens)), ends] @ model.text_projection, dim=-1)


def save_scorer(model: nn.Module, tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write a folder that `open_clip.create_model_and_transforms("local-dir:...")` loads."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.backend_tokenizer.no_padding()  # the padding of the last call would be written too
    tokenizer.save_pretrained(folder)
    config = {"model_cfg": scorer_config(len(tokenizer)), "preprocess_cfg": PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    weights = {name: value.half() if value.is_floating_point() else value for name, value in model.state_dict().items()}
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / WEIGHTS)
