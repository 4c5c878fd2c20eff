"""Regularised inversion (Gal et al. 2022, section 5.1): the word stays near the coarse word."""

from dataclasses import replace

from torch import Tensor

from tasks.diffusion.base_model import BaseModel
from tasks.inversion.options import Regularised
from tasks.inversion.textual_inversion import Word


def pull_to_coarse_word(base: BaseModel, word: Word, options: Regularised) -> Word:
    """Add the mean squared distance of a word's vectors (L2) to where they started, which is the coarse word, to its loss."""
    coarse = word.rows.detach().clone()

    def penalty(rows: Tensor) -> Tensor:
        return options.weight * (rows - coarse).square().sum(dim=1).mean()

    return replace(word, penalty=penalty)
