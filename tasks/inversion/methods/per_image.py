"""Per-image tokens (Gal et al. 2022, section 5.1): what only one picture shows goes into a word of its own, which is not published."""

from dataclasses import replace
from typing import TYPE_CHECKING

from tasks.inversion.section import Section

if TYPE_CHECKING:  # settings are read before torch is needed
    from tasks.diffusion.base_model import BaseModel
    from tasks.inversion.training import Training

PICTURE_TOKEN = "<this-picture>"
PICTURE_INITIALIZER = "picture"  # an ordinary word, which every picture's own word starts as


class Options(Section):
    """Per-image tokens have no settings of their own."""


def prepare(base: "BaseModel", training: "Training", options: Options) -> "Training":
    """Caption each picture `... S* with S_i`, where S_i is one vector of that picture alone.

    Raises:
        ValueError: the concept is a style, whose captions name no thing, or `picture` is not one token of the base model.
    """
    import torch

    from tasks.diffusion.words import initializer_row
    from tasks.inversion.data import caption_ids

    data, word = training.data, training.trainable
    if data.kind == "style":
        raise ValueError(f"invert.method per_image describes things, and {training.concept} is a style; choose another method for it")
    num_vectors, pictures = len(word.rows), len(data.means)
    picture_rows = initializer_row(base, PICTURE_INITIALIZER).to(word.rows.device).repeat(pictures, 1)
    training.trainable = replace(word, rows=torch.cat([word.rows.detach(), picture_rows]).requires_grad_(True), published=num_vectors)
    captions = [f"{template.format(data.placeholder_token)} with {PICTURE_TOKEN}" for template in data.templates]
    input_ids = caption_ids(base, captions, data.contexts, {data.placeholder_token: num_vectors, PICTURE_TOKEN: 1}).expand(pictures, -1, -1, -1)
    of_picture = base.first_ids.cpu() + num_vectors
    input_ids = torch.where(input_ids == of_picture, of_picture + torch.arange(pictures)[:, None, None, None], input_ids)
    data.captions = lambda step: input_ids
    return training
