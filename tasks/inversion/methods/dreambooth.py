"""DreamBooth (Ruiz et al. 2022): the whole denoiser learns what a rare word before the class word means."""

from typing import TYPE_CHECKING

from tasks.inversion.prior import Preservation
from tasks.inversion.section import Section

if TYPE_CHECKING:  # settings are read before torch is needed
    from tasks.diffusion.base_model import BaseModel
    from tasks.inversion.training import Training


class Options(Section):
    identifier: str
    """A rare word of the base model that stands before the class word; one token."""
    prior: Preservation | None
    """Prior preservation with pictures of the class; null for none."""


def prepare(base: "BaseModel", training: "Training", options: Options) -> "Training":
    """Train the denoiser's weights by `invert.learning_rate`. The word reads as `identifier class word`, and both stay as they are.

    The text encoder is not trained: it is shared with every other word of the catalog.

    Raises:
        ValueError: the identifier or a word of the class is not one token, or the concept does not start as an ordinary word.
    """
    from dataclasses import replace

    import torch

    from tasks.diffusion.words import initializer_row, initializer_rows
    from tasks.inversion.adapter import Adapter, new_differences
    from tasks.inversion.data import caption_ids
    from tasks.inversion.prior import class_word_of, prior_of

    data, word = training.data, training.trainable
    class_rows = initializer_rows(base, class_word_of(data, training.concept))
    rows = torch.cat([initializer_row(base, options.identifier)[None], class_rows])
    captions = [template.format(data.placeholder_token) for template in data.templates]
    input_ids = caption_ids(base, captions, data.contexts, {data.placeholder_token: len(rows)})
    data.captions = lambda step: input_ids
    data.prior = prior_of(base, data, options.prior, training.concept)
    fixed = replace(word, rows=rows.to(word.rows.device), published=len(rows))
    training.trainable = Adapter(fixed, new_differences(base), word.learning_rate)
    training.begin = lambda training: training.trainable.allocate()  # the differences of sixteen concepts are sixteen denoisers
    return training
