"""Every method of inversion: it does what its paper says, resumes, and leaves the words beside it alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from tasks.diffusion.base_model import BaseModel, load_base_model
from tasks.diffusion.words import initializer_row
from tasks.inversion.methods import METHODS
from tasks.inversion.options import OPTIONS
from tasks.inversion.textual_inversion import Word, draw_batch
from tasks.inversion.training import batch_losses
from tests.support.tiny import save_tiny_pipeline
from tests.support.words import make, trained


def test_every_method_has_its_options() -> None:
    assert METHODS.keys() == OPTIONS.keys()


@pytest.mark.parametrize("method", METHODS)
def test_a_resumed_word_is_the_undisturbed_word(base: BaseModel, tmp_path: Path, method: str) -> None:
    (undisturbed,) = trained(base, tmp_path / "undisturbed", make(base, method))

    def interrupt(word: Word) -> None:
        if word.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(base, tmp_path / "resumed", make(base, method), on_step=interrupt)
    steps: list[int] = []
    (resumed,) = trained(base, tmp_path / "resumed", make(base, method), on_step=lambda word: steps.append(word.step))
    assert steps == [5, 6]
    assert torch.equal(resumed, undisturbed)


def test_methods_in_company_are_the_methods_alone(base: BaseModel, tmp_path: Path) -> None:
    alone = [trained(base, tmp_path / "alone", make(base, method))[0] for method in METHODS]
    together = trained(base, tmp_path / "together", *(make(base, method) for method in METHODS))
    for method, one, other in zip(METHODS, alone, together, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0, msg=method)
    different = {tuple(rows[0].tolist()) for rows in alone}
    assert len(different) == len(METHODS) - 1  # pivotal tunes the denoiser around the plain word


def test_progressive_vectors_join_one_after_the_other(base: BaseModel, tmp_path: Path) -> None:
    word, start, first_id = make(base, "progressive"), make(base, "progressive").rows.detach(), len(base.tokenizer)
    shown, moved = {}, {}

    def look(word: Word) -> None:
        shown[word.step] = int((word.input_ids >= first_id).sum(dim=-1).max())
        moved[word.step] = (word.rows.detach() - start).abs().amax(dim=1) > 1e-4

    trained(base, tmp_path, word, on_step=look)
    assert shown == {1: 1, 2: 2, 3: 2, 4: 3, 5: 3, 6: 3}  # captions of the step after
    assert {step: rows.tolist() for step, rows in moved.items()} == {
        1: [True, False, False],
        2: [True, False, False],
        3: [True, True, False],
        4: [True, True, False],
        5: [True, True, True],
        6: [True, True, True],
    }


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"options": {"add_at": (4, 2)}}, "count up"),
        ({"options": {"add_at": (0, 2)}}, "count up"),
        ({"options": {"add_at": ()}}, "at least 1"),
        ({"options": {}}, "add_at"),
        ({"options": {"add_at": (2, 4), "weight": 1.0}}, "weight"),
        ({"num_vectors": 2}, "num_vectors"),
        ({"max_train_steps": 4}, "before the last"),
    ],
)
def test_progressive_settings_without_sense_are_refused(base: BaseModel, changes: dict[str, Any], said: str) -> None:
    with pytest.raises((ValueError, ValidationError), match=said):
        make(base, "progressive", **changes)


def test_the_regularised_gradient_is_the_plain_one_and_the_pull(base: BaseModel) -> None:
    plain, pulled = make(base, "textual_inversion", num_vectors=2), make(base, "regularised", num_vectors=2)
    for word in (plain, pulled):
        with torch.no_grad():
            word.rows += 0.1
        batch_losses(base, [word], [draw_batch(word, 1000)], most=9)
    assert plain.rows.grad is not None
    assert pulled.rows.grad is not None
    torch.testing.assert_close(pulled.rows.grad, plain.rows.grad + 10.0 * 2 * torch.full_like(plain.rows, 0.1) / 2)


def test_a_regularised_word_stays_nearer(base: BaseModel, tmp_path: Path) -> None:
    coarse = initializer_row(base, "dog")
    far, near = (trained(base, tmp_path, make(base, method, max_train_steps=20))[0] for method in ("textual_inversion", "regularised"))
    assert (near - coarse).norm() < 0.8 * (far - coarse).norm()
    with pytest.raises(ValidationError, match="greater than 0"):
        OPTIONS["regularised"](weight=0.0)


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_held_norm_is_the_vocabularys(tmp_path: Path, family: str) -> None:
    base = load_base_model.__wrapped__(str(save_tiny_pipeline(tmp_path / family, family=family)), None, "cpu")
    start, seen = initializer_row(base, "dog"), []
    word = make(base, "norm_held", num_vectors=2)
    (learned,) = trained(base, tmp_path, word, on_step=lambda word: seen.append(word.rows.detach().clone()))
    wanted = torch.tensor([float(encoder.table.weight.norm(dim=1).mean()) for encoder in base.text_encoders]).expand(2, -1)
    for rows in (*seen, learned):
        torch.testing.assert_close(torch.stack([part.norm(dim=1) for part in rows.split(base.widths, dim=1)], dim=1), wanted)
    assert torch.cosine_similarity(learned[0], start, dim=0) < 0.9999


def test_a_picture_has_its_own_vector_and_the_word_alone_is_learned(base: BaseModel, tmp_path: Path) -> None:
    word, first_id = make(base, "per_image", num_vectors=2), len(base.tokenizer)
    word.batch_size, word.stds = 64, torch.zeros_like(word.stds)
    batch = draw_batch(word, 1000)
    for latents, ids in zip(batch.latents, batch.input_ids[:, 0], strict=True):
        picture = next(index for index, mean in enumerate(word.means) if torch.equal(latents, mean))
        assert ids[ids >= first_id].tolist() == [first_id, first_id + 1, first_id + 2 + picture]
    word = make(base, "per_image", num_vectors=2)
    (learned,) = trained(base, tmp_path, word)
    assert word.rows.shape[0] == 5
    assert learned.shape[0] == 2
    assert torch.equal(learned, word.average[:2])
    with pytest.raises(ValueError, match="style"):
        make(base, "per_image", templates=("a painting in the style of {}",))


@pytest.mark.parametrize("method", METHODS)
def test_a_picture_is_captioned_with_what_else_it_shows(base: BaseModel, method: str) -> None:
    word = make(base, method, contexts=("", "on the moon", "in the snow"))
    word.batch_size, word.stds = 64, torch.zeros_like(word.stds)
    batch = draw_batch(word, 1000)
    for latents, ids in zip(batch.latents, batch.input_ids[:, 0], strict=True):
        picture = next(index for index, mean in enumerate(word.means) if torch.equal(latents, mean))
        text = base.tokenizer.decode(ids[ids < len(base.tokenizer)])
        assert [where in text for where in ("on the moon", "in the snow")] == [picture == 1, picture == 2]
