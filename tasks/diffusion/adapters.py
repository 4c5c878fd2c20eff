"""Changes of a frozen denoiser that belong to words: each acts on the pictures whose prompt has its word, and on no other."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tasks.diffusion.changes import Change, Changes, LowRank, change_of, check_layers, each, stacked
from tasks.diffusion.places import Looking, look, reading_text
from tasks.diffusion.strengths import strengths_in, without_strengths


class Chosen(NamedTuple):
    """The rows of a batch that some adapters act on."""

    rows: list[int]
    which: list[int]
    """The place of each row's adapter among those adapters."""
    together: bool
    """Whether the rows follow one another."""
    strengths: Tensor | None
    """(rows,); None where all are 1."""


@dataclass(frozen=True)
class Acting:
    """The pairs of a row in the batch and an adapter that acts on it."""

    rows: list[int]
    adapters: list[int]
    strengths: list[float]
    known: dict[tuple[int, ...], Chosen] = field(default_factory=dict)
    """What `chosen` has returned: dozens of layers of a pass have the same adapters."""

    def chosen(self, members: tuple[int, ...], like: Tensor) -> Chosen:
        """Return the rows that these adapters act on; their strengths are like the tensor."""
        if members not in self.known:
            pairs = [index for index, number in enumerate(self.adapters) if number in members]
            rows, which = [self.rows[index] for index in pairs], [members.index(self.adapters[index]) for index in pairs]
            strengths = [self.strengths[index] for index in pairs]
            weakened = any(strength != 1 for strength in strengths)
            together = bool(rows) and rows == list(range(rows[0], rows[0] + len(rows)))
            self.known[members] = Chosen(rows, which, together, like.new_tensor(strengths) if weakened else None)
        return self.known[members]


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
            attentions = reading_text(denoiser) if changes else []
            handles += [attention.register_forward_hook(self.look, with_kwargs=True) for attention in attentions]
            yield
        finally:
            self.words, self.latest = words, None
            for handle in handles:
                handle.remove()

    def look(self, attention: nn.Module, inputs: tuple[Tensor, ...], keywords: dict[str, Any], output: Tensor) -> None:
        """Collect the attention of a layer that reads the text where this thread looks at it."""
        if looking := getattr(self.thread, "looking", None):
            look(looking, attention, inputs[0] if inputs else keywords["hidden_states"], keywords)

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

    def hook(self, owners: Mapping[int, Change]) -> Any:
        """Return the forward hook of a layer that these adapters change; those of one kind and rank act in one product."""
        kinds: dict[tuple[type, int], list[int]] = {}
        for number, change in owners.items():
            kinds.setdefault((type(change), len(change.down) if isinstance(change, LowRank) else 0), []).append(number)
        groups = [(tuple(members), stacked([owners[number] for number in members])) for members in kinds.values()]

        def change_output(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            acting = getattr(self.thread, "acting", self.latest)
            if acting is None:
                return output
            for members, changes in groups:
                if (chosen := acting.chosen(members, output)).rows:
                    output = add_change(module, inputs[0], output, chosen, changes)
            return output

        return change_output


def add_change(module: nn.Module, inputs: Tensor, output: Tensor, chosen: Chosen, changes: Change) -> Tensor:
    """Add the adapters' changes to some rows of a layer's output. changes: as of `change_of`."""
    rows, which, together, strengths = chosen
    first = rows[0]
    if changes[0].dtype != output.dtype:
        changes = each(changes, lambda part: part.to(output.dtype))
    read = inputs[first : first + len(rows)] if together else inputs.index_select(0, torch.tensor(rows, device=inputs.device))
    change = change_of(module, read, changes, which).to(output.dtype)
    if strengths is not None:
        change = change * strengths.to(change.dtype).view(-1, *[1] * (change.dim() - 1))
    if together and torch.is_grad_enabled() and len(rows) == len(output):
        return output + change
    if together and not torch.is_grad_enabled():
        # In place, which keeps the output's memory layout, and with it every bit of the rows that no adapter acts on.
        output[first : first + len(rows)] += change
        return output
    output = output.clone() if torch.is_grad_enabled() else output
    return output.index_add_(0, torch.tensor(rows, device=output.device), change)


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
            raise ValueError(f"{unknown[0]} has a strength in {prompt!r} and no adapter to scale; write {unknown[0]} alone")
        plain.append(without_strengths(prompt))
        rows.append([strengths.get(word, 1.0) if word in plain[-1] else 0.0 for word in words])
    return plain, torch.tensor(rows) if words else None
