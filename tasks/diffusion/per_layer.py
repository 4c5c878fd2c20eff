"""Extended words (Voynov et al. 2023, P+): each cross-attention layer of the denoiser reads a text of its own.

The texts of a prompt lie end to end in one tensor (prompts, length, layers * dim). Each layer takes its part of a text that wide, and reads a
text of the plain width (prompts, length, dim) as it is.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

BLOCKS = ("down_blocks", "mid_block", "up_blocks")


def cross_attentions(denoiser: nn.Module) -> dict[str, nn.Module]:
    """Return the cross-attention layers of a UNet by name, in the order in which a picture goes through them; a transformer has none."""
    names = [name for name, _ in denoiser.named_modules() if name.rpartition(".")[2] == "attn2" and name.partition(".")[0] in BLOCKS]
    return {name: denoiser.get_submodule(name) for name in sorted(names, key=lambda name: BLOCKS.index(name.partition(".")[0]))}


def read_own_parts(denoiser: Any, dim: int) -> None:
    """Let each cross-attention layer read its own part of a text that has one for each; whatever else reads the text gets their mean.

    The hooks decide by the text alone, so threads may share the denoiser. dim: the width of the text that one layer reads.
    """
    layers = list(cross_attentions(denoiser).values())
    for number, layer in enumerate(layers):
        layer.register_forward_pre_hook(own_part(slice(number * dim, (number + 1) * dim)), with_kwargs=True)
    if denoiser.config.addition_embed_type == "text":  # the embedded model's, which adds the whole text to the timestep
        denoiser.add_embedding.register_forward_pre_hook(lambda module, inputs: (inputs[0].unflatten(-1, (-1, dim)).mean(dim=-2), *inputs[1:]))


def own_part(part: slice) -> Any:
    """Return the hook of a layer before its pass."""

    def narrow(layer: nn.Module, inputs: tuple[Tensor, ...], keywords: dict[str, Any]) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
        text = keywords["encoder_hidden_states"]
        if text.shape[-1] == part.stop - part.start:
            return inputs, keywords
        return inputs, keywords | {"encoder_hidden_states": text[..., part]}

    return narrow


def equally_wide(texts: Sequence[Tensor]) -> list[Tensor]:
    """Return tensors (..., dim or layers * dim) in the width of the widest; a plain one says the same to every layer."""
    widest = max(text.shape[-1] for text in texts)
    return [text.repeat(*[1] * (text.dim() - 1), widest // text.shape[-1]) for text in texts]


def mean_rows(rows: Tensor, width: int) -> Tensor:
    """Return what the rows (vectors, width or layers * width) of a word say to the layers in the mean: (vectors, width)."""
    return rows.unflatten(1, (-1, width)).mean(dim=1)


def mean_norm(rows: Tensor, width: int) -> Tensor:
    """Return the mean norm of the rows (vectors, width or layers * width) of a word: a scalar."""
    return rows.unflatten(1, (-1, width)).norm(dim=-1).mean()


def joined_rows(rows: Sequence[Tensor]) -> Tensor:
    """Return the rows of several words, one word after the other."""
    return torch.cat(equally_wide(rows))
