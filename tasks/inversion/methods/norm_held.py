"""Norm-held inversion: only the direction is learned, since long vectors are what makes a word hard to edit (DTI, 2026)."""

from dataclasses import replace

import torch
from torch import Tensor

from tasks.diffusion.base_model import BaseModel
from tasks.inversion.options import Options
from tasks.inversion.textual_inversion import Word


def hold_norm(base: BaseModel, word: Word, options: Options) -> Word:
    """Put a word's vectors back to the mean norm of the vocabulary after every step; of several text encoders to each one's own."""
    norms = [float(encoder.table.weight.norm(dim=1).mean()) for encoder in base.text_encoders]

    @torch.no_grad()
    def hold(rows: Tensor) -> None:
        for part, norm in zip(rows.split(base.widths, dim=1), norms, strict=True):
            part *= norm / part.norm(dim=1, keepdim=True).clamp(min=1e-12)

    def settle(word: Word) -> None:
        hold(word.rows)
        hold(word.average)

    hold(word.rows)
    return replace(word, settle=settle)
