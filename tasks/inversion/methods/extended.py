"""Extended Textual Inversion (Voynov et al. 2023, P+): each cross-attention layer of the denoiser has vectors of its own for the word."""

from typing import TYPE_CHECKING, Literal

from tasks.inversion.section import Section

if TYPE_CHECKING:  # settings are read before torch is needed
    from tasks.diffusion.base_model import BaseModel
    from tasks.inversion.training import Training

LAYERS = "cross_attention"


class Options(Section):
    word: Literal["textual_inversion", "norm_held"]
    """The method by which each layer's vectors are trained."""


def prepare(base: "BaseModel", training: "Training", options: Options) -> "Training":
    """Give the word one row for each cross-attention layer, all of which start as the coarse word.

    Raises:
        ValueError: the denoiser has no cross-attention layers.
    """
    from dataclasses import replace

    from tasks.diffusion.per_layer import cross_attentions
    from tasks.inversion.methods import method

    layers = len(cross_attentions(base.denoiser))
    if not layers:
        raise ValueError(f"invert.method extended needs cross-attention layers, and {base.identity['model']} has none; choose another method")
    rows = training.trainable.rows.detach().repeat(1, layers).requires_grad_(True)
    training.trainable = replace(training.trainable, rows=rows)
    word = method(options.word)
    return word.prepare(base, training, word.Options())
