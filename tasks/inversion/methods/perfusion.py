"""Perfusion (Tewel et al. 2023): key-locked, gated rank-one changes of what the cross-attention reads, in about 50 KB for Stable Diffusion.

Unlike the paper, the word is trained first and held fixed then, so that the direction that opens the gate stays; and the loss has no mask of the
thing: the change acts where the picture attends to the word anyway.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tasks.inversion.section import Section

if TYPE_CHECKING:  # settings are read before torch is needed
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn

    from tasks.diffusion.base_model import BaseModel
    from tasks.diffusion.changes import Change
    from tasks.inversion.adapter import Adapter
    from tasks.inversion.rows import Rows
    from tasks.inversion.training import Training

LAYERS = "cross_attention"
WORDS = 1000  # of the vocabulary, whose text encodings give the covariance
AT_ONCE = 64  # prompts encoded at once
RIDGE = 1e-3  # of the covariance's mean variance, without which rare directions would count without bound


class Options(Section):
    word: Literal["textual_inversion", "norm_held"]
    """The method by which the word itself is trained."""
    steps: int = Field(ge=1, le=10_000_000)
    """Optimizer steps of the values after the word's own training, with the word held fixed."""
    learning_rate: float = Field(gt=0, le=10)
    """The constant rate of AdamW for the values; the word has `invert.learning_rate`."""
    bias: float = Field(ge=0, le=1)
    """The similarity to the word at which a token's gate is half open; the paper has 0.75."""
    temperature: float = Field(ge=0.001, le=100)
    """The width of the gate's slope; the paper has 0.1."""


def prepare(base: "BaseModel", training: "Training", options: Options) -> "Training":
    """Train the word, lock its keys to the class word's, then train what each cross-attention layer reads as its value.

    Raises:
        ValueError: the denoiser has no cross-attention layers, or the concept does not start as an ordinary word.
    """
    from tasks.diffusion.words import initializer_rows
    from tasks.inversion.adapter import Adapter, tuned_after
    from tasks.inversion.methods import method
    from tasks.inversion.prior import class_word_of

    layers = {name: layer for name, layer in base.layers(LAYERS).items() if name.endswith((".to_k", ".to_v"))}
    if not layers:
        raise ValueError(f"invert.method perfusion changes cross-attention layers, and {base.identity['model']} has none; choose another method")
    class_rows, data = initializer_rows(base, class_word_of(training.data, training.concept)), training.data
    word_method = method(options.word)
    training = word_method.prepare(base, training, word_method.Options())

    def adapter(fixed: "Rows") -> "Adapter":
        key, of_class = (text_of_word(base, data.templates, data.placeholder_token, rows) for rows in (fixed.rows, class_rows))
        return Adapter(fixed, locked(base, key, of_class, layers, options), options.learning_rate)

    return tuned_after(training, data, options.steps, adapter)


def locked(
    base: "BaseModel", key: "Tensor", of_class: "Tensor", layers: "Mapping[str, nn.Linear | nn.Conv2d]", options: Options
) -> "dict[str, Change]":
    """Return layer -> gated change: the keys say what they say of the class, the values are parameters that start as the word's own.

    key, of_class: the text encodings of the word and of its class word, (dim,).
    """
    import torch
    from torch import nn

    from tasks.diffusion.changes import Gated

    metric = similarity_metric(base, key)
    gate = torch.tensor([options.bias, options.temperature], device=base.device)
    changes: dict[str, Change] = {}
    for name, layer in layers.items():
        value = layer.weight.float() @ (of_class if name.endswith(".to_k") else key)
        changes[name] = Gated(key, metric, value if name.endswith(".to_k") else nn.Parameter(value), gate)
    return changes


def text_of_word(base: "BaseModel", templates: "Sequence[str]", placeholder_token: str, rows: "Tensor") -> "Tensor":
    """Return the mean text encoding (dim,) of a word, with rows (vectors, dim), at its own tokens in the captions."""
    import torch

    from tasks.diffusion.words import encode_tokens, token_ids

    input_ids = token_ids(base, [template.format(placeholder_token) for template in templates], {placeholder_token: len(rows)})
    with torch.no_grad():
        hidden = encode_tokens(base, input_ids, rows.to(base.device)).hidden.float()
    return hidden[input_ids[:, 0].to(hidden.device) >= len(base.tokenizer)].mean(dim=0)


def similarity_metric(base: "BaseModel", key: "Tensor") -> "Tensor":
    """Return the vector (dim,) whose product with a token is its similarity to `key`, in the metric of the inverse covariance of the text encodings.

    The uncentred covariance is that of all tokens of `a photo of a WORD` for the first words of the vocabulary.
    """
    import torch

    from tasks.diffusion.words import encode_tokens, token_ids, whole_words

    input_ids = token_ids(base, [f"a photo of a {word}" for word in whole_words(base, WORDS)], {})
    covariance = torch.zeros(len(key), len(key), dtype=torch.float64)
    with torch.no_grad():
        for part in input_ids.split(AT_ONCE):
            tokens = encode_tokens(base, part, torch.zeros(1, sum(base.widths), device=base.device)).hidden.flatten(0, 1).cpu().double()
            covariance += tokens.T @ tokens / input_ids[:, 0].numel()
    ridge = RIDGE * covariance.trace() / len(covariance)
    whitened = torch.linalg.solve(covariance + ridge * torch.eye(len(covariance), dtype=torch.float64), key.cpu().double())
    return (whitened / (whitened @ key.cpu().double())).float().to(key.device)
