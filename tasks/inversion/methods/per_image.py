"""Per-image tokens (Gal et al. 2022, section 5.1): what only one picture shows goes into a word of its own, which is not published."""

from dataclasses import replace
from typing import TYPE_CHECKING

from tasks.inversion.section import Section

if TYPE_CHECKING:  # settings are read before torch is needed
    from tasks.diffusion.base_model import BaseModel
    from tasks.inversion.training import Training

OWN = "<this-picture>"
DETAILS = "picture"  # what a picture's own word starts as


class Options(Section):
    """Per-image tokens have no settings of their own."""


def prepare(base: "BaseModel", training: "Training", options: Options) -> "Training":
    """Caption each picture `... S* with S_i`, where S_i is one vector of that picture alone.

    Raises:
        ValueError: the concept is a style, whose captions name no thing that could be with another, or the base model does not know `picture`.
    """
    import torch

    from tasks.diffusion.words import initializer_row
    from tasks.inversion.data import caption_ids

    data, word = training.data, training.trainable
    if data.kind == "style":
        raise ValueError(f"invert.method per_image describes things, and {training.concept} is a style; choose another method for it")
    shared, pictures = len(word.rows), len(data.means)
    own = initializer_row(base, DETAILS).to(word.rows.device).repeat(pictures, 1)
    training.trainable = replace(word, rows=torch.cat([word.rows.detach(), own]).requires_grad_(True), published=shared)
    captions = [f"{template.format(data.placeholder_token)} with {OWN}" for template in data.templates]
    first = caption_ids(base, captions, data.contexts, {data.placeholder_token: shared, OWN: 1})
    own_id = len(base.tokenizer) + shared
    input_ids = first.expand(pictures, -1, -1, -1)
    input_ids = torch.where(input_ids == own_id, own_id + torch.arange(pictures)[:, None, None, None], input_ids)
    data.captions = lambda step: input_ids
    return training
