"""Changes of a frozen denoiser that belong to words: each acts on the pictures whose prompt has its word, and on no other."""

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tasks.diffusion.places import Looking, look
from tasks.diffusion.strengths import strengths_in, without_strengths


class LowRank(NamedTuple):
    """A change of one layer's weight by `up @ down` (LoRA, Hu et al. 2021), also of a convolution (LoCon)."""

    down: Tensor
    """(rank, in), of a convolution (rank, in, height, width)."""
    up: Tensor
    """(out, rank)."""


Changes = Mapping[str, LowRank]
"""Layer of the denoiser -> its change."""

TARGETS = {
    "cross_attention": r"\.attn2\.to_(q|k|v|out\.0)$",
    "attention": r"\.attn[12]\.to_(q|k|v|out\.0)$",
    "linear": r"\.attn[12]\.to_(q|k|v|out\.0)$|\.ff\.net\.(0\.proj|2)$|\.(proj_in|proj_out|time_emb_proj)$",
    "convolutions": r"\.attn[12]\.to_(q|k|v|out\.0)$|\.ff\.net\.(0\.proj|2)$|\.(proj_in|proj_out|time_emb_proj|conv1|conv2|conv_shortcut|conv)$",
}
"""Name of a set of layers -> what the names of its layers end with. Each set has those before it."""


def layers_of(denoiser: nn.Module, targets: str) -> dict[str, nn.Linear | nn.Conv2d]:
    """Return the layers of a set in `TARGETS` by their names in the denoiser."""
    layers = {name: module for name, module in denoiser.named_modules() if re.search(TARGETS[targets], name)}
    return {name: module for name, module in layers.items() if isinstance(module, nn.Linear | nn.Conv2d)}


class Acting(NamedTuple):
    """The pairs of a row in the batch and an adapter that acts on it."""

    rows: list[int]
    adapters: list[int]
    strengths: list[float]


class Adapters:
    """The changes that are on a denoiser, and in each thread how strongly each acts on each row of the batch.

    Threads share the denoiser and its hooks, so a hook does nothing but what its own thread has asked for.
    """

    def __init__(self) -> None:
        self.words: tuple[str, ...] = ()
        self.thread = threading.local()
        self.latest: Acting | None = None  # for the thread in which autograd computes activations again

    @contextmanager
    def attached(self, denoiser: nn.Module, changes: Mapping[str, Changes]) -> Iterator[None]:
        """Put the changes of words on the denoiser while the block runs: word -> layer -> change.

        Raises:
            ValueError: the denoiser has no such layer, or one of another shape.
        """
        modules, handles, words = dict(denoiser.named_modules()), [], self.words
        for word, layers in changes.items():
            check_layers(word, layers, modules)
        try:
            self.words = tuple(changes)
            for layer in dict.fromkeys(layer for layers in changes.values() for layer in layers):
                owners = {number: layers[layer] for number, layers in enumerate(changes.values()) if layer in layers}
                handles.append(modules[layer].register_forward_hook(self.hook(owners)))
            attentions = [module for name, module in modules.items() if name.rpartition(".")[2] == "attn2"] if changes else []
            handles += [attention.register_forward_hook(self.look, with_kwargs=True) for attention in attentions]
            yield
        finally:
            self.words, self.latest = words, None
            for handle in handles:
                handle.remove()

    def look(self, attention: nn.Module, inputs: tuple[Tensor, ...], keywords: dict[str, Any], output: Tensor) -> None:
        """Collect the attention of a cross-attention layer where this thread looks at it."""
        if looking := getattr(self.thread, "looking", None):
            look(looking, attention, inputs[0], keywords["encoder_hidden_states"])

    @contextmanager
    def watching(self, looking: Looking) -> Iterator[None]:
        """Have the passes of this thread collect attention while the block runs."""
        self.thread.looking = looking
        try:
            yield
        finally:
            self.thread.looking = None

    @contextmanager
    def acting(self, strengths: Tensor | None) -> Iterator[None]:
        """Let adapters act on the batch that this thread sends through the denoiser; strengths: (rows, adapters, length), None for no adapter."""
        before = getattr(self.thread, "acting", None)
        if strengths is None:
            self.thread.acting = None
        else:
            strongest = strengths.amax(dim=2)
            rows, adapters = strongest.nonzero(as_tuple=True)
            self.thread.acting = Acting(rows.tolist(), adapters.tolist(), strongest[rows, adapters].tolist())
            self.latest = self.thread.acting
        try:
            yield
        finally:
            self.thread.acting = before

    def hook(self, owners: Mapping[int, LowRank]) -> Any:
        """Return the forward hook of a layer that these adapters change; those of one rank act in one product."""
        ranks: dict[int, list[int]] = {}
        for number, change in owners.items():
            ranks.setdefault(len(change.down), []).append(number)
        groups = [
            (members, torch.stack([owners[number].down for number in members]), torch.stack([owners[number].up for number in members]))
            for members in ranks.values()
        ]

        def change_output(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            acting = getattr(self.thread, "acting", self.latest)
            if acting is None:
                return output
            for members, down, up in groups:
                pairs = [index for index, number in enumerate(acting.adapters) if number in members]
                if pairs:
                    rows, which = [acting.rows[index] for index in pairs], [members.index(acting.adapters[index]) for index in pairs]
                    strengths = torch.tensor([acting.strengths[index] for index in pairs], device=output.device, dtype=output.dtype)
                    output = add_change(module, inputs[0], output, rows, strengths, down, up, which)
            return output

        return change_output


def add_change(
    module: nn.Module, inputs: Tensor, output: Tensor, rows: list[int], strengths: Tensor, down: Tensor, up: Tensor, which: list[int]
) -> Tensor:
    """Add the adapters' changes to some rows of a layer's output. down, up: as of `change_of`. strengths, which: one for each of `rows`."""
    first, together = rows[0], rows == list(range(rows[0], rows[0] + len(rows)))
    index = torch.tensor(rows, device=output.device)
    chosen = inputs[first : first + len(rows)] if together else inputs.index_select(0, index)
    change = change_of(module, chosen, down.to(output.dtype), up.to(output.dtype), which)
    change = change * strengths.view(-1, *[1] * (change.dim() - 1))
    if torch.is_grad_enabled():
        return output + change if together and len(rows) == len(output) else output.clone().index_add_(0, index, change)
    if together:  # in place, which keeps the output's memory layout, and with it every bit of the rows that no adapter acts on
        output[first : first + len(rows)] += change
        return output
    return output.index_add_(0, index, change)


def change_of(module: nn.Module, inputs: Tensor, down: Tensor, up: Tensor, which: list[int]) -> Tensor:
    """Return the change of a layer's output, each row by its own adapter. Adapters with equally many rows, in order, share one product.

    inputs: (rows, ...). down: (adapters, rank, in, ...). up: (adapters, out, rank). which: the adapter of each row.
    """
    order = list(dict.fromkeys(which))
    count = len(which) // len(order)
    if which != [number for number in order for _ in range(count)]:
        whole: Tensor | None = None
        for number in order:
            index = torch.tensor([row for row, own in enumerate(which) if own == number], device=inputs.device)
            part = change_of(module, inputs.index_select(0, index), down, up, [number] * len(index))
            whole = part.new_zeros(len(which), *part.shape[1:]) if whole is None else whole
            whole = whole.index_copy(0, index, part)
        assert whole is not None
        return whole
    if order != list(range(len(down))):  # `index_select` has a gradient that is the same at every run, indexing has not
        present = torch.tensor(order, device=inputs.device)
        down, up = down.index_select(0, present), up.index_select(0, present)
    if isinstance(module, nn.Conv2d):  # the adapters side by side as groups of channels
        blocks = inputs.unflatten(0, (len(order), count)).transpose(0, 1).flatten(1, 2)
        low = F.conv2d(blocks, down.flatten(0, 1), None, module.stride, module.padding, module.dilation, len(order))
        change = F.conv2d(low, up.flatten(0, 1)[:, :, None, None], groups=len(order))
        return change.unflatten(1, (len(order), -1)).transpose(0, 1).flatten(0, 1)
    tokens = inputs.reshape(len(order), -1, inputs.shape[-1])
    return (tokens @ down.transpose(1, 2) @ up.transpose(1, 2)).view(*inputs.shape[:-1], -1)


def check_layers(word: str, changes: Changes, modules: Mapping[str, nn.Module]) -> None:
    """Check that a word's adapter fits the denoiser.

    Raises:
        ValueError: it does not.
    """
    for layer, (down, up) in changes.items():
        weight = getattr(modules.get(layer), "weight", None)
        if weight is None or (up.shape[0], *down.shape[1:]) != tuple(weight.shape):
            there = f"has {tuple(weight.shape)} there" if weight is not None else "has no such layer"
            raise ValueError(
                f"the adapter of {word} changes {layer} by {(up.shape[0], *down.shape[1:])}, and the denoiser {there};"
                " it was learned on another base model, so build the word again on this one"
            )


def read_strengths(prompts: Sequence[str], words: Sequence[str]) -> tuple[list[str], Tensor | None]:
    """Return the prompts without strengths, and the strength of each word's adapter in each prompt (prompts, words); None without words.

    A prompt writes `<fox:0.7>` for the word `<fox>` whose adapter acts with 0.7 of its change. A word that a prompt lacks has strength 0.

    Raises:
        ValueError: a word has a strength and no adapter.
    """
    plain, rows = [], []
    for prompt in prompts:
        strengths = strengths_in(prompt)
        if unknown := [word for word in strengths if word not in words]:
            raise ValueError(f"{unknown[0]} has a strength in {prompt!r} and no adapter that could act with it; write {unknown[0]} alone")
        plain.append(without_strengths(prompt))
        rows.append([strengths.get(word, 1.0) if word in plain[-1] else 0.0 for word in words])
    return plain, torch.tensor(rows) if words else None
