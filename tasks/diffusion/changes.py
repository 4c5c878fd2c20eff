"""The kinds of changes that a word makes to a layer of the frozen denoiser, and what each adds to the layer's output."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LowRank(NamedTuple):
    """A change of a layer's weight by `up @ down` (LoRA, Hu et al. 2021), also of a convolution (LoCon)."""

    down: Tensor
    """(rank, in), of a convolution (rank, in, height, width)."""
    up: Tensor
    """(out, rank)."""


class Difference(NamedTuple):
    """The difference of a layer's weights from the base model's (DreamBooth, Ruiz et al. 2022)."""

    weight: Tensor
    """Like the layer's weight."""
    bias: Tensor | None
    """Like the layer's bias; None where the layer has none."""


class Gated(NamedTuple):
    """A gated rank-one change of a layer that reads the text (Perfusion, Tewel et al. 2023, eq. 3)."""

    key: Tensor
    """(in,): the text encoding of the word, whose part of a token the layer no longer reads."""
    metric: Tensor
    """(in,): its product with a token is how much of the word the token has; 1 for the word itself."""
    output: Tensor
    """(out,): what the layer says of the word instead."""
    gate: Tensor
    """(2,): the similarity at which the gate is half open, and its temperature."""


Change = LowRank | Difference | Gated
Changes = Mapping[str, Change]
"""Layer of the denoiser -> its change."""

TARGETS = {
    "cross_attention": r"\.attn2\.to_(q|k|v|out\.0)$",
    "attention": r"\.attn[12]\.to_(q|k|v|out\.0)$",
    "linear": r"\.attn[12]\.to_(q|k|v|out\.0)$|\.ff\.net\.(0\.proj|2)$|\.(proj_in|proj_out|time_emb_proj)$",
    "convolutions": r"\.attn[12]\.to_(q|k|v|out\.0)$|\.ff\.net\.(0\.proj|2)$|\.(proj_in|proj_out|time_emb_proj|conv1|conv2|conv_shortcut|conv)$",
}
"""Name of a set of a UNet's layers -> what the names of its layers end with. Each set has those before it."""
JOINT = r"\.attn2?\.(to_q|to_k|to_v|to_out\.0|add_q_proj|add_k_proj|add_v_proj|to_add_out)$|attention\.(to_q|to_k|to_v|to_out\.0)$"
MLP = r"\.(ff|ff_context)\.net\.(0\.proj|2)$|\.single_transformer_blocks\.\d+\.(proj_mlp|proj_out)$|\.feed_forward\.w[123]$"
TRANSFORMER = {"attention": JOINT, "linear": f"{JOINT}|{MLP}", "convolutions": f"{JOINT}|{MLP}"}
"""The same sets of a transformer, in which pictures and text attend to one another. Its blocks have no convolutions."""


def layers_of(denoiser: nn.Module, targets: str, sets: Mapping[str, str] = TARGETS) -> dict[str, nn.Linear | nn.Conv2d]:
    """Return the layers of a set by their names in the denoiser; none where there is no such set."""
    ends = re.compile(sets.get(targets, "$^"))
    layers = {name: module for name, module in denoiser.named_modules() if ends.search(f".{name}")}
    return {name: module for name, module in layers.items() if isinstance(module, nn.Linear | nn.Conv2d)}


def each(change: Change, function: Callable[[Tensor], Tensor]) -> Change:
    """Return a change with a function applied to each of its tensors."""
    return type(change)(*(None if part is None else function(part) for part in change))  # type: ignore[arg-type]


def weight_shape(module: Any) -> tuple[int, ...]:
    """Return the shape of a layer's weight as if it were stored plainly: weights of fewer bits are packed."""
    return (module.out_features, module.in_features) if isinstance(module, nn.Linear) else tuple(module.weight.shape)


def stacked(changes: Sequence[Change]) -> Change:
    """Return changes of one kind and one shape as one, whose tensors have a first dimension for them."""
    if len(changes) == 1:  # without a copy: the difference of a whole denoiser fills a GPU
        return each(changes[0], lambda part: part[None])
    return type(changes[0])(*(None if parts[0] is None else torch.stack(parts) for parts in zip(*changes, strict=True)))  # type: ignore[arg-type]


def shape_of(change: Change) -> tuple[int, ...]:
    """Return the shape of the weight that a change fits."""
    match change:
        case LowRank(down, up):
            return up.shape[0], *down.shape[1:]
        case Difference(weight, _):
            return tuple(weight.shape)
        case Gated(key, _, output, _):
            return len(output), len(key)


def change_of(module: nn.Module, inputs: Tensor, changes: Change, which: Sequence[int]) -> Tensor:
    """Return what is added to a layer's output, each row by its own change. Changes with equally many rows, in order, share one product.

    inputs: (rows, ...). changes: as of `stacked`. which: the change of each row.
    """
    if len(changes[0]) == 1:
        return OUTPUTS[type(changes)](module, inputs, changes)
    order = list(dict.fromkeys(which))
    count = len(which) // len(order)
    if list(which) != [number for number in order for _ in range(count)]:
        whole: Tensor | None = None
        for number in order:
            index = torch.tensor([row for row, own in enumerate(which) if own == number], device=inputs.device)
            part = change_of(module, inputs.index_select(0, index), changes, [number] * len(index))
            whole = part.new_zeros(len(which), *part.shape[1:]) if whole is None else whole
            whole = whole.index_copy(0, index, part)
        assert whole is not None
        return whole
    if order != list(range(len(changes[0]))):
        present = torch.tensor(order, device=inputs.device)
        # `index_select` has a gradient that is the same at every run, indexing has not.
        changes = each(changes, lambda part: part.index_select(0, present))
    return OUTPUTS[type(changes)](module, inputs, changes)


def of_low_rank(module: Any, inputs: Tensor, changes: LowRank) -> Tensor:
    if not isinstance(module, nn.Conv2d):
        return linear(linear(inputs, changes.down), changes.up)
    adapters = len(changes.up)
    low = side_by_side(inputs, adapters, changes.down.flatten(0, 1), module)
    change = F.conv2d(low, changes.up.flatten(0, 1)[:, :, None, None], groups=adapters)
    return one_below_the_other(change, adapters)


def of_difference(module: nn.Module, inputs: Tensor, changes: Difference) -> Tensor:
    weight, bias = changes
    if isinstance(module, nn.GroupNorm):
        assert bias is not None
        plain = F.group_norm(inputs, module.num_groups, eps=module.eps)
        return plain * for_each_row(weight, inputs, 1) + for_each_row(bias, inputs, 1)
    if isinstance(module, nn.LayerNorm):
        assert bias is not None
        plain = F.layer_norm(inputs, list(module.normalized_shape), eps=module.eps)
        return plain * for_each_row(weight, inputs, -1) + for_each_row(bias, inputs, -1)
    if isinstance(module, nn.Conv2d):
        change = one_below_the_other(side_by_side(inputs, len(weight), weight.flatten(0, 1), module), len(weight))
        return change if bias is None else change + for_each_row(bias, inputs, 1)
    change = linear(inputs, weight)
    return change if bias is None else change + for_each_row(bias, inputs, -1)


def for_each_row(values: Tensor, inputs: Tensor, axis: int) -> Tensor:
    """Return the values (adapters, channels) of equally many rows each, for tensors like `inputs` whose channels are on an axis."""
    shape = [len(inputs), *[1] * (inputs.dim() - 1)]
    shape[axis] = values.shape[1]
    return values.repeat_interleave(len(inputs) // len(values), 0).view(shape)


def of_gated(module: Any, inputs: Tensor, changes: Gated) -> Tensor:
    share = linear(inputs, changes.metric[:, None])  # (rows, tokens, 1)
    gates = changes.gate.repeat_interleave(len(inputs) // len(changes.gate), 0)[:, :, None, None]
    opened = ((share - gates[:, 0]) / gates[:, 1]).sigmoid()
    forgotten = F.linear(changes.key, module.weight.to(changes.key))  # (adapters, out)
    return linear(opened, changes.output[:, :, None]) - linear(share, forgotten[:, :, None])


def linear(inputs: Tensor, weights: Tensor) -> Tensor:
    """Multiply equally many rows by each weight. inputs: (rows, ..., in). weights: (adapters, out, in). Returns (rows, ..., out)."""
    if len(weights) == 1:
        return F.linear(inputs, weights[0])
    rows = inputs.reshape(len(weights), -1, inputs.shape[-1])
    return (rows @ weights.transpose(1, 2)).view(*inputs.shape[:-1], -1)


def side_by_side(inputs: Tensor, adapters: int, weight: Tensor, module: nn.Conv2d) -> Tensor:
    """Convolve equally many rows with each adapter's part of `weight` (adapters * out, in, ...): (rows / adapters, adapters * out, ...)."""
    if adapters == 1:
        return F.conv2d(inputs, weight, None, module.stride, module.padding, module.dilation)
    blocks = inputs.unflatten(0, (adapters, -1)).transpose(0, 1).flatten(1, 2)
    return F.conv2d(blocks, weight, None, module.stride, module.padding, module.dilation, adapters)


def one_below_the_other(blocks: Tensor, adapters: int) -> Tensor:
    """Bring the result of `side_by_side` into the order of its inputs: (rows, out, ...)."""
    return blocks if adapters == 1 else blocks.unflatten(1, (adapters, -1)).transpose(0, 1).flatten(0, 1)


OUTPUTS: dict[type, Callable[..., Tensor]] = {LowRank: of_low_rank, Difference: of_difference, Gated: of_gated}
"""Kind -> what its changes add to the output of a layer, whose rows are in the order of the changes, equally many for each."""


def merge(module: Any, change: Change) -> None:
    """Add a change to a layer's own weights, for good.

    Raises:
        TypeError: the change is gated, which no weights can say.
    """
    match change:
        case LowRank(down, up):
            weight, bias = (up @ down.flatten(1)).view(module.weight.shape), None
        case Difference(weight, bias):
            pass
        case _:
            raise TypeError(f"a change of the kind {type(change).__name__} cannot be merged into weights")
    with torch.no_grad():
        module.weight += weight.to(module.weight)
        if bias is not None:
            module.bias += bias.to(module.bias)


def extracted(changes: Changes, rank: int) -> tuple[dict[str, Change], float]:
    """Return the LoRA of a rank that is nearest to differences of weights, by singular values, and the share of the difference that it loses.

    The share is the norm of what is lost by the norm of the whole. Biases and normalisations, for which there is no LoRA, are lost.
    """
    lora, lost, whole = dict[str, Change](), 0.0, 0.0
    for layer, change in changes.items():
        assert isinstance(change, Difference)
        squares = sum(float(part.square().sum()) for part in change if part is not None)
        whole, lost = whole + squares, lost + squares
        if change.weight.dim() > 1:
            left, values, right = torch.linalg.svd(change.weight.flatten(1), full_matrices=False)
            most = min(rank, len(values))
            lora[layer] = LowRank(right[:most].unflatten(1, change.weight.shape[1:]), left[:, :most] * values[:most])
            lost -= float(values[:most].square().sum())
    return lora, (max(lost, 0.0) / whole) ** 0.5 if whole else 0.0


def check_layers(word: str, changes: Changes, modules: Mapping[str, nn.Module]) -> None:
    """Check that a word's changes fit the denoiser.

    Raises:
        ValueError: they do not.
    """
    for layer, change in changes.items():
        found = weight_shape(modules[layer]) if getattr(modules.get(layer), "weight", None) is not None else None
        if shape_of(change) != found:
            there = f"has {found} there" if found else "has no such layer"
            raise ValueError(
                f"the adapter of {word} changes {layer} by {shape_of(change)}, and the denoiser {there};"
                " it was learned on another base model, so build the word again on this one"
            )
