import copy

import pytest
import torch
from torch import nn

from tasks.diffusion.group_norm import ChannelsLastGroupNorm, use_channels_last_norms


@pytest.mark.parametrize("shift", [0.0, 300.0])  # a large mean cancels the variance of a careless sum
def test_equals_group_norm_in_double_precision(shift: float) -> None:
    ours = nn.Sequential(nn.GroupNorm(4, 12))
    nn.init.normal_(ours[0].weight)
    nn.init.normal_(ours[0].bias)
    exact = copy.deepcopy(ours).double()
    use_channels_last_norms(ours)
    assert type(ours[0]) is ChannelsLastGroupNorm
    value = (torch.randn(3, 12, 5, 7, generator=torch.Generator().manual_seed(0)) + shift).requires_grad_()
    same = value.detach().double().requires_grad_()
    output, expected = ours(value.contiguous(memory_format=torch.channels_last)), exact(same)
    assert output.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(output.double(), expected, rtol=1e-3, atol=1e-3)
    for result in (output, expected):
        (result * torch.linspace(-1, 1, 7)).sum().backward()
    assert value.grad is not None
    assert same.grad is not None
    torch.testing.assert_close(value.grad.double(), same.grad, rtol=1e-3, atol=1e-3)


def test_other_layouts_are_left_to_torch() -> None:
    plain = nn.GroupNorm(2, 4)
    ours = copy.deepcopy(plain)
    ours.__class__ = ChannelsLastGroupNorm
    for value in (torch.randn(2, 4, 6), torch.randn(2, 4, 3, 3)):
        assert torch.equal(ours(value), plain(value))
