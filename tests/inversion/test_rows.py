"""Words that only some of a base model's text encoders learn."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tasks.diffusion.base_model import BaseModel, load_base_model
from tasks.diffusion.words import encode_tokens, initializer_row
from tasks.inversion.loop import train
from tasks.inversion.methods import method
from tasks.inversion.passes import learning_encoders
from tasks.inversion.training import Training, new_training
from tests.support.tiny import save_tiny_pipeline


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """Stable Diffusion 3, with three text encoders."""
    return load_base_model.__wrapped__(str(save_tiny_pipeline(tmp_path_factory.mktemp("sd3"), family="sd3")), None, "cpu")


def word_of(base: BaseModel, concept: str, text_encoders: tuple[str, ...] | None, average_last: float = 0.5) -> Training:
    latents = torch.randn(2, *base.latent_shape, generator=torch.Generator().manual_seed(0)), torch.full((2, *base.latent_shape), 0.1)
    rest = {"average_last": average_last, "seed": 0, "text_encoders": text_encoders}
    return new_training(base, concept, f"<{concept}>", "dog", "object", ("a photo of a {}",), latents, 2, 2, 1e-2, 4, (0.0, 1.0), **rest)


def by_encoder(base: BaseModel, rows: Tensor) -> dict[str, Tensor]:
    return dict(zip(base.parts, rows.split(base.widths, dim=1), strict=True))


@pytest.mark.parametrize("name", ["textual_inversion", "norm_held"])
@pytest.mark.parametrize("learns", [("clip_l",), ("clip_g", "t5xxl")])
def test_a_word_stays_ordinary_in_text_encoders_that_do_not_learn_it(base: BaseModel, tmp_path: Path, name: str, learns: tuple[str, ...]) -> None:
    word = word_of(base, "fox", learns)
    start, chosen = word.trainable.rows.detach().clone(), method(name)
    word = chosen.prepare(base, word, chosen.Options())
    list(train(base, [word], {"fox": tmp_path / "fox.pt"}, 2))
    assert word.result is not None
    before, after = by_encoder(base, start), by_encoder(base, word.result.rows)
    assert {key for key in base.parts if not torch.equal(before[key], after[key])} == set(learns)
    torch.testing.assert_close(before["clip_g"][0], by_encoder(base, initializer_row(base, "dog")[None])["clip_g"][0])


def test_a_text_encoder_that_learns_nothing_has_no_backward_pass(base: BaseModel) -> None:
    words = [word_of(base, "fox", ("clip_l",)), word_of(base, "hat", ("clip_l", "clip_g"))]
    assert learning_encoders(base, words[:1]) == [True, False, False]
    assert learning_encoders(base, words) == [True, True, False]
    assert learning_encoders(base, [*words, word_of(base, "cup", None)]) == [True, True, True]
    rows, ids = words[0].trainable.rows, words[0].data.captions(0)[0]
    outputs = list[Tensor]()
    handle = base.text_encoders[2].model.register_forward_hook(lambda module, inputs, output: outputs.append(output.last_hidden_state))
    try:
        condition = encode_tokens(base, ids, rows, [True, False, False])
    finally:
        handle.remove()
    assert not outputs[0].requires_grad
    condition.hidden.square().sum().backward()
    assert {key for key, part in by_encoder(base, rows.grad).items() if part.abs().sum() > 0} == {"clip_l"}


def test_company_that_learns_more_changes_nothing(base: BaseModel, tmp_path: Path) -> None:
    alone = word_of(base, "fox", ("clip_l",))
    list(train(base, [alone], {"fox": tmp_path / "fox.pt"}, 100))
    together = [word_of(base, "fox", ("clip_l",)), word_of(base, "hat", None)]
    list(train(base, together, {word.concept: tmp_path / f"{word.concept}-2.pt" for word in together}, 100))
    torch.testing.assert_close(together[0].learned.rows, alone.learned.rows, rtol=1e-4, atol=1e-5)


def test_an_unknown_text_encoder_is_named(base: BaseModel) -> None:
    with pytest.raises(ValueError, match=r"invert\.text_encoders of fox has qwen3, but .* has clip_l, clip_g, t5xxl"):
        word_of(base, "fox", ("clip_l", "qwen3"))
