"""The kinds of changes: each adds to a layer's output what the changed layer would give, row by row, and some can be merged into weights."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from tasks.diffusion.changes import Change, Difference, Gated, LowRank, change_of, extracted, merge, shape_of, stacked

LAYERS = {
    "linear": (nn.Linear(6, 4), (5, 3, 6)),
    "convolution": (nn.Conv2d(6, 4, 3, 2, 1), (5, 6, 8, 8)),
    "group norm": (nn.GroupNorm(2, 6), (5, 6, 4, 4)),
    "layer norm": (nn.LayerNorm(6), (5, 3, 6)),
}
ROWS = ([0, 0, 1, 1, 1], [1, 0, 0, 1, 1], [0, 0, 0, 0, 0])  # the change of each row


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def difference(layer: nn.Module, seed: int) -> Difference:
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor) and isinstance(bias, Tensor)
    return Difference(draw(*weight.shape, seed=seed), draw(*bias.shape, seed=seed + 10))


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("which", ROWS)
def test_a_difference_is_the_layer_with_other_weights(kind: str, which: list[int]) -> None:
    layer, shape = LAYERS[kind]
    inputs, changes = draw(*shape, seed=1), [difference(layer, seed) for seed in (2, 3)]
    found = layer(inputs) + change_of(layer, inputs, stacked(changes), which)
    for row, number in enumerate(which):
        other = deepcopy(layer)
        merge(other, changes[number])
        torch.testing.assert_close(found[row : row + 1], other(inputs[row : row + 1]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_a_low_rank_change_merges_into_the_weights(kind: str) -> None:
    layer, shape = LAYERS[kind]
    change = LowRank(draw(2, *layer.weight.shape[1:], seed=1), draw(4, 2, seed=2))
    inputs, other = draw(*shape, seed=3), deepcopy(layer)
    merge(other, change)
    assert shape_of(change) == tuple(layer.weight.shape)
    torch.testing.assert_close(layer(inputs) + change_of(layer, inputs, stacked([change]), [0] * 5), other(inputs), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("which", ROWS)
def test_a_gate_opens_for_the_word_and_for_nothing_unlike_it(which: list[int]) -> None:
    layer = nn.Linear(6, 4)
    keys = torch.linalg.qr(draw(6, 6, seed=1)).Q  # the rows are at right angles, so the plain product is a similarity
    changes: list[Change] = [Gated(key, key, draw(4, seed=2 + number), torch.tensor([0.75, 0.1])) for number, key in enumerate(keys[:2])]
    inputs = torch.stack([keys[0], keys[1], keys[2]]).expand(5, -1, -1)
    found = layer(inputs) + change_of(layer, inputs, stacked(changes), which)
    opened, shut = torch.sigmoid(torch.tensor([2.5, -7.5]))
    for row, number in enumerate(which):
        change = changes[number]
        assert isinstance(change, Gated)
        torch.testing.assert_close(found[row, number], layer.bias + opened * change.output, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found[row, 2], layer(keys[2]) + shut * change.output, atol=1e-5, rtol=1e-5)
    with pytest.raises(TypeError, match="Gated cannot be merged"):
        merge(layer, changes[0])


def test_a_lora_is_extracted_by_singular_values_and_says_what_it_lacks() -> None:
    layer = nn.Conv2d(6, 4, 3)
    change = Difference(draw(*layer.weight.shape, seed=1), torch.zeros(4))
    flat, lacks = change.weight.flatten(1), []
    for rank in (1, 3, 4, 9):
        lora, lost = extracted({"conv": change}, rank)
        low = lora["conv"]
        assert isinstance(low, LowRank) and len(low.down) == min(rank, 4)
        assert lost == pytest.approx(float((low.up @ low.down.flatten(1) - flat).norm() / flat.norm()), abs=1e-5)
        lacks.append(lost)
    assert lacks[0] > lacks[1] > 0.1
    assert lacks[2:] == pytest.approx([0.0, 0.0], abs=1e-3)
    norm = {"norm": Difference(torch.ones(4), torch.zeros(4))}
    assert extracted(norm, 2) == ({}, 1.0)
