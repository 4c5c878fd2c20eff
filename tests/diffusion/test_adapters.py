"""Adapters on a denoiser: each acts where its word is, as a longer weight would, and nowhere else."""

from collections.abc import Sequence
from copy import deepcopy
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from tasks.diffusion.adapters import read_strengths
from tasks.diffusion.base_model import BaseModel
from tasks.diffusion.changes import TARGETS, Changes, LowRank, layers_of
from tasks.diffusion.words import encode_prompts, initializer_row

PROMPTS = ["a photo of a <fox>", "a photo of a dog", "a <owl> and a <fox>"]


def changes(base: BaseModel, targets: str, rank: int, seed: int) -> dict[str, LowRank]:
    """A change of every layer of a set that can be seen in the prediction."""
    generator = torch.Generator().manual_seed(seed)
    return {
        layer: LowRank(
            torch.randn(rank, *module.weight.shape[1:], generator=generator) / rank, 0.3 * torch.randn(len(module.weight), rank, generator=generator)
        )
        for layer, module in layers_of(base.denoiser, targets).items()
    }


def merged(denoiser: nn.Module, some: Changes, strength: float = 1.0) -> nn.Module:
    """The other way: a denoiser of its own whose weights have the change in them."""
    denoiser = deepcopy(denoiser)
    for layer, (down, up) in some.items():
        weight = denoiser.get_submodule(layer).weight
        with torch.no_grad():
            weight += strength * (up @ down.flatten(1)).view_as(weight)
    return denoiser


def predict(base: BaseModel, prompts: Sequence[str], denoiser: nn.Module | None = None) -> Tensor:
    """The prediction for one noise under each prompt, by the base model or by another denoiser."""
    rows = {word: initializer_row(base, noun)[None] for word, noun in (("<fox>", "dog"), ("<owl>", "cat"))}
    condition = encode_prompts(base, prompts, rows)
    if condition.strengths is not None:  # on whole pictures
        condition = condition._replace(strengths=condition.strengths.amax(dim=2, keepdim=True))
    latents = torch.randn(1, *base.latent_shape, generator=torch.Generator().manual_seed(5)).expand(len(prompts), -1, -1, -1)
    with torch.no_grad():
        return base.denoise(latents, 500, condition) if denoiser is None else denoiser(latents, 500, condition.hidden).sample


@pytest.mark.parametrize("targets", TARGETS)
def test_an_adapter_is_a_change_of_the_weights_where_its_word_is(base: BaseModel, targets: str) -> None:
    fox, plain = changes(base, targets, 2, 1), predict(base, PROMPTS)
    expected = predict(base, PROMPTS, merged(base.denoiser, fox))
    with base.adapters.attached(base.denoiser, {"<fox>": fox}):
        found = predict(base, PROMPTS)
    torch.testing.assert_close(found[0], expected[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[2], expected[2], atol=1e-4, rtol=1e-4)
    assert (found[0] - plain[0]).abs().max() > 1e-3
    assert torch.equal(found[1], plain[1])  # to the bit: no prompt without the word is touched
    assert torch.equal(predict(base, PROMPTS), plain)  # nothing stays on the denoiser


def test_each_set_of_layers_has_the_one_before_it(base: BaseModel) -> None:
    sets = [layers_of(base.denoiser, targets).keys() for targets in TARGETS]
    assert all(smaller < larger for smaller, larger in pairwise(sets))
    assert sets[0]


@pytest.mark.parametrize("ranks", [(2, 2), (1, 3)])
def test_two_adapters_add_up_in_a_prompt_with_both_words(base: BaseModel, ranks: tuple[int, int]) -> None:
    fox, owl = changes(base, "linear", ranks[0], 1), changes(base, "attention", ranks[1], 2)
    both = predict(base, PROMPTS, merged(merged(base.denoiser, fox), owl))
    with base.adapters.attached(base.denoiser, {"<owl>": owl, "<fox>": fox}):
        found = predict(base, PROMPTS)
    torch.testing.assert_close(found[2], both[2], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[0], predict(base, PROMPTS, merged(base.denoiser, fox))[0], atol=1e-4, rtol=1e-4)


def test_a_prompt_says_how_strongly_a_word_acts(base: BaseModel) -> None:
    fox = changes(base, "attention", 2, 1)
    with base.adapters.attached(base.denoiser, {"<fox>": fox}):
        found, plain = predict(base, ["a photo of a <fox:0.5>", "a photo of a <fox:0>"]), predict(base, ["a photo of a <fox>"])
    expected = predict(base, ["a photo of a <fox>"], merged(base.denoiser, fox, 0.5))
    torch.testing.assert_close(found[:1], expected, atol=1e-4, rtol=1e-4)
    assert (found[0] - plain[0]).abs().max() > 1e-4
    torch.testing.assert_close(found[1:], predict(base, ["a photo of a <fox>"]), atol=1e-5, rtol=1e-5)


def test_the_factors_get_the_gradient_of_the_changed_weights(base: BaseModel) -> None:
    fox = {layer: LowRank(*(factor.requires_grad_(True) for factor in change)) for layer, change in changes(base, "convolutions", 2, 1).items()}
    rows = {"<fox>": initializer_row(base, "dog")[None]}
    latents = torch.randn(1, *base.latent_shape, generator=torch.Generator().manual_seed(5))
    with base.adapters.attached(base.denoiser, {"<fox>": fox}):
        condition = encode_prompts(base, ["a <fox>"], rows)
        base.denoise(latents, 500, condition._replace(hidden=condition.hidden.clone(), strengths=torch.ones(1, 1, 1))).square().sum().backward()
    other = merged(base.denoiser, {layer: LowRank(*(factor.detach() for factor in change)) for layer, change in fox.items()}).requires_grad_(True)
    other(latents, 500, condition.hidden.clone()).sample.square().sum().backward()
    for layer, (down, up) in fox.items():
        gradient = other.get_submodule(layer).weight.grad.flatten(1)
        assert up.grad is not None and down.grad is not None
        torch.testing.assert_close(up.grad, gradient @ down.detach().flatten(1).T, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(down.grad.flatten(1), up.detach().T @ gradient, atol=1e-3, rtol=1e-3)


def test_strengths_are_read_from_prompts() -> None:
    plain, strengths = read_strengths(["a <fox:0.7> and a <owl>", "a cat", "<owl:2>"], ["<fox>", "<owl>"])
    assert plain == ["a <fox> and a <owl>", "a cat", "<owl>"]
    assert strengths is not None
    torch.testing.assert_close(strengths, torch.tensor([[0.7, 1.0], [0.0, 0.0], [0.0, 2.0]]))
    assert read_strengths(["a <fox>"], []) == (["a <fox>"], None)
    with pytest.raises(ValueError, match=r"<fox> has a strength in 'a <fox:0.7>' and no adapter .*; write <fox> alone"):
        read_strengths(["a <fox:0.7>"], ["<owl>"])


def test_an_adapter_of_another_base_is_refused(base: BaseModel) -> None:
    fox = changes(base, "attention", 2, 1)
    layer, (down, up) = next(iter(fox.items()))
    for wrong, match in (({layer: LowRank(down[:, 1:], up)}, "has .* there"), ({"nowhere.to_q": LowRank(down, up)}, "has no such layer")):
        with (
            pytest.raises(ValueError, match=rf"the adapter of <fox> changes .*{match}.*build the word again on this one"),
            base.adapters.attached(base.denoiser, {"<fox>": wrong}),
        ):
            pass
