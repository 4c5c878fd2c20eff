"""An adapter acts where the attention looks at its word."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor
from torch import Tensor

from tasks.diffusion.base_model import BaseModel
from tasks.diffusion.changes import LowRank, layers_of
from tasks.diffusion.places import Looking, place_of_words
from tasks.diffusion.words import encode_prompts, initializer_row
from tasks.registry import registered_adapter

PROMPTS = ["a photo of a <fox>", "a photo of a dog", "a <owl> and a <fox>"]


@pytest.fixture
def words(base: BaseModel) -> dict[str, Tensor]:
    return {word: torch.stack([initializer_row(base, noun)] * count) for word, noun, count in (("<fox>", "dog", 2), ("<owl>", "cat", 1))}


def change(base: BaseModel, seed: int) -> dict[str, LowRank]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: LowRank(torch.randn(2, module.weight.shape[1], generator=generator), torch.randn(len(module.weight), 2, generator=generator))
        for name, module in layers_of(base.denoiser, "attention").items()
    }


def predict(base: BaseModel, words: dict[str, Tensor], everywhere: bool = False, prompts: list[str] = PROMPTS) -> Tensor:
    condition = encode_prompts(base, prompts, words)
    if everywhere and condition.strengths is not None:
        condition = condition._replace(strengths=condition.strengths.amax(dim=2, keepdim=True))
    latents = torch.randn(len(prompts), *base.latent_shape, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return base.denoise(latents, torch.full((len(prompts),), 500), condition)


def test_a_picture_changes_as_much_as_a_place_is_the_words(base: BaseModel, words: dict[str, Tensor]) -> None:
    plain = predict(base, words)
    with base.adapters.attached(base.denoiser, {"<fox>": change(base, 1)}):
        local, whole = predict(base, words), predict(base, words, everywhere=True)
    torch.testing.assert_close(local[1], plain[1], atol=1e-5, rtol=1e-5)
    for row in (0, 2):
        difference, full = local[row] - plain[row], whole[row] - plain[row]
        share = (difference * full).sum(dim=0) / full.square().sum(dim=0)  # of every place, one for all channels
        torch.testing.assert_close(difference, share * full, atol=1e-4, rtol=1e-3)
        assert share.min() + 0.3 < share.max()
        assert share.min() > -1e-4 and share.max() < 1 + 1e-3


def test_prompts_without_a_word_are_the_base_models_to_the_bit(base: BaseModel, words: dict[str, Tensor]) -> None:
    prompts = ["a photo of a dog", "a cat on the moon"]
    plain = predict(base, words, prompts=prompts)
    with base.adapters.attached(base.denoiser, {"<fox>": change(base, 1)}):
        assert torch.equal(predict(base, words, prompts=prompts), plain)


def test_each_of_two_words_acts_in_its_own_place(base: BaseModel, words: dict[str, Tensor]) -> None:
    plain, fox, owl = predict(base, words), change(base, 1), change(base, 2)
    alone = []
    for word, adapter in (("<fox>", fox), ("<owl>", owl)):
        with base.adapters.attached(base.denoiser, {word: adapter}):
            alone.append(predict(base, words) - plain)
    with base.adapters.attached(base.denoiser, {"<owl>": owl, "<fox>": fox}):
        both = predict(base, words) - plain
    torch.testing.assert_close(both, alone[0] + alone[1], atol=1e-4, rtol=1e-3)
    assert alone[1][0].abs().max() < 1e-4 < alone[1][2].abs().max()  # the first prompt has no owl


def test_the_maps_are_those_of_diffusers(base: BaseModel, words: dict[str, Tensor]) -> None:
    seen: list[Tensor] = []

    class LookingProcessor(AttnProcessor):
        def __call__(self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **keywords: object) -> Tensor:
            text = hidden_states if encoder_hidden_states is None else encoder_hidden_states
            query, key = attn.head_to_batch_dim(attn.to_q(hidden_states)), attn.head_to_batch_dim(attn.to_k(text))
            seen.append(attn.get_attention_scores(query, key).unflatten(0, (-1, attn.heads)).mean(dim=1))
            return super().__call__(attn, hidden_states, encoder_hidden_states, **keywords)

    condition, latents = encode_prompts(base, PROMPTS, words), torch.randn(3, *base.latent_shape, generator=torch.Generator().manual_seed(5))
    tokens = torch.zeros(2, condition.hidden.shape[1])
    tokens[0, 5:7] = tokens[1, 2] = 1
    looking = Looking(torch.tensor([0, 2]), tokens, [])
    with torch.no_grad(), base.adapters.attached(base.denoiser, {"<fox>": change(base, 1)}), base.adapters.watching(looking):
        base.denoise(latents, 500, condition)
    attentions = {name: module for name, module in base.denoiser.named_modules() if name.endswith("attn2")}
    before = {name: module.processor for name, module in attentions.items()}
    try:
        for module in attentions.values():
            module.set_processor(LookingProcessor())
        with torch.no_grad():
            base.denoise(latents, 500, condition)
    finally:
        for name, module in attentions.items():
            module.set_processor(before[name])
    assert len(looking.maps) == len(seen) > 0
    for ours, theirs in zip(looking.maps, seen, strict=True):
        torch.testing.assert_close(ours[0], theirs[0, :, 5:7].sum(dim=1), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(ours[1], theirs[2, :, 2], atol=1e-5, rtol=1e-4)


def test_threads_that_share_the_denoiser_do_not_meet(base: BaseModel, words: dict[str, Tensor]) -> None:
    """Many predictions at once, each of another number of pictures, are what they are alone."""
    latents = torch.randn(3, *base.latent_shape, generator=torch.Generator().manual_seed(5))
    with base.adapters.attached(base.denoiser, {"<fox>": change(base, 1)}):
        condition = encode_prompts(base, PROMPTS, words)

        def denoise(count: int) -> list[Tensor]:
            with torch.no_grad():
                return [base.denoise(latents[:count], 500, condition.rows(slice(count))) for _ in range(8)]

        alone = {count: denoise(count)[0] for count in (1, 2, 3)}
        with ThreadPoolExecutor(4) as pool:
            for count, predictions in zip([1, 2, 3] * 8, pool.map(denoise, [1, 2, 3] * 8), strict=True):
                for prediction in predictions:
                    torch.testing.assert_close(prediction, alone[count], atol=1e-3, rtol=1e-3)


def test_the_finest_maps_decide_and_without_any_a_word_is_everywhere() -> None:
    fine, coarse = torch.zeros(1, 16), torch.ones(1, 4)
    fine[0, 5] = 0.8
    fine[0, 6] = 0.2
    place = place_of_words([coarse, fine], torch.zeros(1, 3, 4, 4))[0, 0]
    assert place[1, 1] == 1
    assert place[1, 2] == pytest.approx(0.5)
    assert place.sum() == pytest.approx(1.5)
    assert torch.equal(place_of_words([], torch.zeros(2, 3, 4, 4)), torch.ones(2, 1, 4, 4))


def test_an_odd_number_of_latents_has_places_too(base: BaseModel, words: dict[str, Tensor]) -> None:
    odd = replace(base, latent_side=9)
    plain = predict(odd, words)
    with base.adapters.attached(base.denoiser, {"<fox>": change(base, 0)}):
        assert not torch.allclose(predict(odd, words)[0], plain[0], atol=1e-3)


@pytest.mark.parametrize(("side", "finest"), [(8, 4), (9, 5), (129, 65), (5, 2)])
def test_the_registered_file_finds_the_same_places(side: int, finest: int) -> None:
    maps = [torch.rand(1, rows * rows, generator=torch.Generator().manual_seed(rows)) for rows in (finest, finest, -(-finest // 2))]
    registered = registered_adapter.Adapter.__new__(registered_adapter.Adapter)
    registered.maps = [attended[0] for attended in maps]
    torch.testing.assert_close(registered.place(side, side), place_of_words(maps, torch.zeros(1, 4, side, side))[0, 0])
