"""Per-image tokens (Gal et al. 2022, section 5.1): what only one picture shows goes into a word of its own, which is not published."""

from dataclasses import replace

import torch

from tasks.diffusion.base_model import BaseModel
from tasks.diffusion.words import initializer_row
from tasks.inversion.options import Options
from tasks.inversion.textual_inversion import Word, caption_ids, optimizer_of

OWN = "<this-picture>"
DETAILS = "picture"  # what a picture's own word starts as


def add_image_tokens(base: BaseModel, word: Word, options: Options) -> Word:
    """Caption each picture `... S* with S_i`, where S_i is one vector of that picture alone.

    Raises:
        ValueError: the concept is a style, whose captions name no thing that could be with another, or the base model does not know `picture`.
    """
    if any("style" in template for template in word.templates):
        raise ValueError(f"invert.method per_image describes things, and {word.concept} is a style; choose another method for it")
    shared, pictures = len(word.rows), len(word.means)
    own = initializer_row(base, DETAILS).to(word.rows.device).repeat(pictures, 1)
    rows = torch.cat([word.rows.detach(), own]).requires_grad_(True)
    captions = [f"{template.format(word.placeholder_token)} with {OWN}" for template in word.templates]
    first = caption_ids(base, captions, word.contexts, {word.placeholder_token: shared, OWN: 1})
    own_id = len(base.tokenizer) + shared
    input_ids = first.expand(pictures, -1, -1, -1)
    input_ids = torch.where(input_ids == own_id, own_id + torch.arange(pictures)[:, None, None, None], input_ids)
    return replace(
        word,
        rows=rows,
        optimizer=optimizer_of(rows, word.learning_rate),
        average=torch.zeros_like(rows),
        captions=lambda step: input_ids,
        published=shared,
    )
