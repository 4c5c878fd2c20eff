import torch
from torch import nn

from tasks.pretraining.muon import Muon, orthogonal


def test_singular_values_come_near_one() -> None:
    matrices = torch.randn(3, 20, 50, generator=torch.Generator().manual_seed(0))
    for each in (matrices, matrices.mT):
        values = torch.linalg.svdvals(orthogonal(each))
        assert values.min() > 0.6 and values.max() < 1.3


def test_what_is_no_matrix_moves_as_by_adamw() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.LayerNorm(8), nn.LayerNorm(8)
    both = [(ours, Muon(ours, 1e-2, 0.1)), (theirs, torch.optim.AdamW(theirs.parameters(), 1e-2, (0.9, 0.98), 1e-8, 0.1))]
    for _ in range(5):
        inputs = torch.randn(4, 8)
        for layer, optimizer in both:
            optimizer.zero_grad()
            (layer(inputs) ** 3).sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight)
    torch.testing.assert_close(ours.bias, theirs.bias)


def test_matrices_learn_and_tables_are_no_matrices() -> None:
    torch.manual_seed(0)
    table, layer = nn.Embedding(5, 16), nn.Linear(16, 16)
    model = nn.Sequential(table, layer)
    optimizer = Muon(model, 2e-2, 0.0)
    assert [parameter is layer.weight for parameter in optimizer.param_groups[0]["params"]] == [True]
    target, losses = torch.randn(5, 16), list[float]()
    for _ in range(200):
        loss = (model(torch.arange(5)) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 10


def test_a_step_has_the_size_of_adamws() -> None:
    layer = nn.Linear(32, 64, bias=False)
    before, optimizer = layer.weight.detach().clone(), Muon(layer, 1e-2, 0.0)
    layer(torch.randn(128, 32)).square().sum().backward()
    optimizer.step()
    moved = (layer.weight - before).square().mean().sqrt()
    assert 0.1 * 1e-2 < moved < 0.4 * 1e-2
