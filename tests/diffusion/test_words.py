"""New words beside a frozen vocabulary: equal to a longer table, and nothing else moves."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextModel

from tasks.diffusion.base_model import BaseModel
from tasks.diffusion.changes import LowRank, layers_of
from tasks.diffusion.words import (
    encode_prompts,
    expand,
    extend_tokenizer,
    initializer_row,
    nearest_words,
    spliced,
    token_ids,
    vector_tokens,
    whole_words,
)
from tasks.inversion.loop import train
from tasks.inversion.training import new_training

WORD = "<teapot>"
PROMPTS = [f"a photo of a {WORD}", f"{WORD} on the moon", "a photo of a cat"]


@pytest.fixture
def rows(base: BaseModel) -> Tensor:
    """Two vectors as large as the vocabulary's."""
    return torch.randn(2, base.vocabulary.shape[1], generator=torch.Generator().manual_seed(0)) * base.vocabulary.std()


@pytest.fixture
def input_ids(base: BaseModel) -> Tensor:
    return token_ids(base, PROMPTS, {WORD: 2})[:, 0]


def resized_encoder(base: BaseModel, rows: Tensor) -> CLIPTextModel:
    """The other way: a text encoder of its own with a table that is longer by `rows`."""
    encoder = deepcopy(base.text_encoders[0].model)
    encoder.resize_token_embeddings(len(base.tokenizer) + len(rows), mean_resizing=False)
    with torch.no_grad():
        encoder.get_input_embeddings().weight[len(base.tokenizer) :] = rows
    return encoder


def test_spliced_embedding_is_a_longer_table(base: BaseModel, rows: Tensor, input_ids: Tensor) -> None:
    expected, encoder = resized_encoder(base, rows)(input_ids).last_hidden_state, base.text_encoders[0]
    with spliced(encoder, rows):
        found = encoder.model(input_ids).last_hidden_state
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(found[0], encoder.model(input_ids.clamp(max=len(base.tokenizer) - 1)).last_hidden_state[0], atol=1e-3)


def test_the_splice_ends_with_its_block_even_after_an_error(base: BaseModel, rows: Tensor) -> None:
    encoder = base.text_encoders[0]
    table = encoder.table
    with pytest.raises(RuntimeError, match="stop"), spliced(encoder, rows):
        assert encoder.table is not table
        raise RuntimeError("stop")
    assert encoder.table is table


def test_the_gradient_is_the_same_at_every_run(base: BaseModel) -> None:
    """Two threads share a batch of this size, and every word lies in the share of both."""
    width = base.vocabulary.shape[1]
    input_ids = (len(base.tokenizer) + torch.arange(5).repeat(4))[:, None].repeat(1, 4 * 32768 // 20 // width)
    upstream = torch.randn(*input_ids.shape, width, generator=torch.Generator().manual_seed(0))
    before, gradients = torch.get_num_threads(), set()
    torch.set_num_threads(2)
    try:
        for _ in range(200):
            learned = torch.zeros(5, width, requires_grad=True)
            with spliced(base.text_encoders[0], learned):
                base.text_encoders[0].table(input_ids).backward(upstream)
            assert learned.grad is not None
            gradients.add(learned.grad.numpy().tobytes())
    finally:
        torch.set_num_threads(before)
    assert len(gradients) == 1


def test_25_steps_are_25_steps_of_resize_and_restore(base: BaseModel, rows: Tensor, input_ids: Tensor) -> None:
    first_id = len(base.tokenizer)
    wanted = torch.randn(*input_ids.shape, base.vocabulary.shape[1], generator=torch.Generator().manual_seed(1))

    learned = rows.clone().requires_grad_(True)
    optimizer = torch.optim.AdamW([learned], lr=5e-3, weight_decay=0.0)
    for _ in range(25):
        optimizer.zero_grad()
        with spliced(base.text_encoders[0], learned):
            (base.text_encoders[0].model(input_ids).last_hidden_state - wanted).square().mean().backward()
        optimizer.step()

    encoder = resized_encoder(base, rows)
    table = encoder.get_input_embeddings().weight.requires_grad_(True)
    old = table[:first_id].detach().clone()
    optimizer = torch.optim.AdamW([table], lr=5e-3, weight_decay=0.0)
    for _ in range(25):
        optimizer.zero_grad()
        (encoder(input_ids).last_hidden_state - wanted).square().mean().backward()
        optimizer.step()
        with torch.no_grad():
            table[:first_id] = old

    torch.testing.assert_close(learned.detach(), table[first_id:].detach(), atol=1e-5, rtol=1e-4)
    assert (learned.detach() - rows).abs().max() > 0.05  # both have gone a long way together


def test_training_moves_the_rows_and_nothing_else(base: BaseModel, tmp_path: Path) -> None:
    parts = {"text_encoder": base.text_encoders[0].model, "unet": base.denoiser, "vae": base.vae}
    before = {name: {key: value.clone() for key, value in part.state_dict().items()} for name, part in parts.items()}
    latents = torch.randn(2, *base.latent_shape, generator=torch.Generator().manual_seed(0)), torch.zeros(2, *base.latent_shape)
    word = new_training(base, "fox", "<fox>", "dog", "object", ("a photo of a {}",), latents, 1, 2, 5e-3, 5, (0.0, 1.0), average_last=0.0, seed=0)
    start = word.trainable.rows.detach().clone()
    list(train(base, [word], {"fox": tmp_path / "fox.pt"}, 100))
    assert word.schedule.step == 5
    assert not torch.equal(word.trainable.rows, start)
    assert torch.equal(start[0], initializer_row(base, "dog"))
    for name, part in parts.items():
        assert all(parameter.grad is None and not parameter.requires_grad for parameter in part.parameters()), name
        assert all(torch.equal(value, before[name][key]) for key, value in part.state_dict().items()), name
    assert [id(parameter) for group in word.trainable.optimizer.param_groups for parameter in group["params"]] == [id(word.trainable.rows)]


@pytest.mark.parametrize("taken", ["cat</w>", "<|endoftext|>"])
def test_a_placeholder_that_is_a_word_is_refused(base: BaseModel, taken: str) -> None:
    with pytest.raises(ValueError, match=r"is already a word of the tokenizer; choose another under concepts in params\.yaml") as refused:
        extend_tokenizer(base.tokenizer, {taken: 1})
    assert repr(taken) in str(refused.value)


def test_a_further_vector_that_is_a_word_is_refused(base: BaseModel) -> None:
    known = extend_tokenizer(base.tokenizer, {"<fox>_1": 1})
    with pytest.raises(ValueError, match="'<fox>_1' is already a word"):
        extend_tokenizer(known, {"<fox>": 2})


def test_a_coarse_word_of_several_tokens_is_refused_with_its_pieces(base: BaseModel) -> None:
    # `mooncat` is the known moon and the known cat without a space, so no merge joins all of it.
    with pytest.raises(ValueError, match=r"initializer_token 'mooncat' is \d+ tokens \(.*cat</w>\).*choose a word of one token"):
        initializer_row(base, "mooncat")


def test_initializer_row_is_a_copy_of_the_words_row(base: BaseModel) -> None:
    row = initializer_row(base, "cat")
    assert torch.equal(row, base.vocabulary[base.tokenizer.get_vocab()["cat</w>"]])
    assert row.data_ptr() != base.vocabulary[base.tokenizer.get_vocab()["cat</w>"]].data_ptr()


def test_extending_leaves_the_tokenizer_alone(base: BaseModel) -> None:
    extended = extend_tokenizer(base.tokenizer, {WORD: 2})
    first_id = len(base.tokenizer)
    assert extended.convert_tokens_to_ids([WORD, f"{WORD}_1"]) == [first_id, first_id + 1]
    assert WORD not in base.tokenizer.get_vocab()


def test_a_word_of_several_vectors_is_written_out(base: BaseModel) -> None:
    assert vector_tokens("<fox>", 3) == ["<fox>", "<fox>_1", "<fox>_2"]
    assert vector_tokens("<fox>", 1) == ["<fox>"]
    words = {"<fox>": 2, "<owl>": 1}
    assert expand("a <fox> and an <owl>", words) == "a <fox> <fox>_1 and an <owl>"
    first_id = len(base.tokenizer)
    input_ids = token_ids(base, ["a <fox> and an <owl>"], words)[0, 0]
    assert input_ids[input_ids >= first_id].tolist() == [first_id, first_id + 1, first_id + 2]


@pytest.mark.parametrize("num_vectors", [1, 2])
def test_encode_prompts_is_the_pipelines_own(base: BaseModel, tiny_base_folder: Path, tmp_path: Path, rows: Tensor, num_vectors: int) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_base_folder, safety_checker=None, requires_safety_checker=False)
    save_file({WORD: rows[:num_vectors]}, tmp_path / "learned_embeds.safetensors")
    pipeline.load_textual_inversion(tmp_path / "learned_embeds.safetensors")
    found = encode_prompts(base, PROMPTS, {WORD: rows[:num_vectors]}).hidden
    for index, prompt in enumerate(PROMPTS):
        expected = pipeline.encode_prompt(prompt, "cpu", num_images_per_prompt=1, do_classifier_free_guidance=False)[0]
        torch.testing.assert_close(found[index : index + 1], expected, atol=1e-5, rtol=1e-4)


def test_two_words_in_one_prompt_read_their_own_rows(base: BaseModel, rows: Tensor) -> None:
    both = encode_prompts(base, ["a <fox> and an <owl>"], {"<fox>": rows[:1], "<owl>": rows[1:]}).hidden
    swapped = encode_prompts(base, ["a <owl> and an <fox>"], {"<owl>": rows[:1], "<fox>": rows[1:]}).hidden
    torch.testing.assert_close(both, swapped)
    assert not torch.allclose(both, encode_prompts(base, ["a <fox> and an <owl>"], {"<fox>": rows[1:], "<owl>": rows[:1]}).hidden, atol=1e-3)


def test_a_word_that_no_prompt_can_use_has_no_tokens(base: BaseModel) -> None:
    """An adapter may be on the denoiser for a word that these prompts were not given."""
    layer, module = next(iter(layers_of(base.denoiser, "attention").items()))
    change = LowRank(torch.ones(1, module.weight.shape[1]), torch.ones(len(module.weight), 1))
    with base.adapters.attached(base.denoiser, {"<owl>": {layer: change}, "<fox>": {layer: change}}):
        condition = encode_prompts(base, ["a <fox>"], {"<fox>": initializer_row(base, "dog")[None]})
    assert condition.strengths is not None
    owl, fox = condition.strengths[0]
    assert owl.count_nonzero() == 0
    assert fox.tolist() == [0.0, 0.0, 1.0] + [0.0] * (len(fox) - 3)


def test_no_special_token_is_a_nearest_word(base: BaseModel) -> None:
    for token_id in base.tokenizer.all_special_ids:
        words = nearest_words(base, base.vocabulary[token_id], 3)
        assert len(words) == 3
        assert not {word for word, _ in words} & set(base.tokenizer.all_special_tokens)
    assert whole_words(base, 3) == whole_words(base)[:3]
