"""Every method of inversion: it does what its paper says, resumes, and leaves the words beside it alone."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from tasks.diffusion.base_model import BaseModel, load_base_model
from tasks.diffusion.per_layer import cross_attentions
from tasks.diffusion.words import encode_prompts, encode_tokens, initializer_row, token_ids
from tasks.inversion.loop import train
from tasks.inversion.methods import METHODS, method
from tasks.inversion.options import EarlyStop
from tasks.inversion.passes import batch_losses, drawn
from tasks.inversion.schedule import Schedule
from tasks.inversion.training import Training
from tests.support.tiny import save_tiny_pipeline
from tests.support.words import SETTINGS, make, trained


def test_a_method_is_found_by_its_name() -> None:
    for name in METHODS:
        assert method(name).Options.model_config["extra"] == "forbid"
    with pytest.raises(ValueError, match=f"method 'dreams' is unknown; choose one of {', '.join(METHODS)}, or name a module"):
        method("dreams")
    with pytest.raises(ValueError, match=r"'nobody\.dreams' cannot be imported .*; install its package"):
        method("nobody.dreams")
    with pytest.raises(ValueError, match=r"'os\.path' lacks Options or prepare"):
        method("os.path")


@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_word_is_the_undisturbed_word(base: BaseModel, tmp_path: Path, name: str) -> None:
    (undisturbed,) = trained(base, tmp_path / "undisturbed", make(base, name))

    def interrupt(word: Training) -> None:
        if word.schedule.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(base, tmp_path / "resumed", make(base, name), on_step=interrupt)
    steps: list[int] = []
    (resumed,) = trained(base, tmp_path / "resumed", make(base, name), on_step=lambda word: steps.append(word.schedule.step))
    assert steps == [5, 6] + ([1, 2, 3, 4] if name in ("lora", "perfusion") else [])
    assert torch.equal(resumed, undisturbed)


def test_methods_in_company_are_the_methods_alone(base: BaseModel, tmp_path: Path) -> None:
    alone = [trained(base, tmp_path / "alone", make(base, name))[0] for name in METHODS]
    together = trained(base, tmp_path / "together", *(make(base, name) for name in METHODS))
    for name, one, other in zip(METHODS, alone, together, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0, msg=name)
    different = {tuple(rows[0].tolist()) for rows in alone}
    assert len(different) == len(METHODS) - 2  # this LoRA and this gate are trained around the plain word


def test_progressive_vectors_join_one_after_the_other(base: BaseModel, tmp_path: Path) -> None:
    word, start, first_id = make(base, "progressive"), make(base, "progressive").trainable.rows.detach(), len(base.tokenizer)
    shown, moved = {}, {}

    def look(word: Training) -> None:
        shown[word.schedule.step] = int((word.data.captions(word.schedule.step) >= first_id).sum(dim=-1).max())
        moved[word.schedule.step] = (word.trainable.rows.detach() - start).abs().amax(dim=1) > 1e-4

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


def test_progressive_does_not_stop_before_its_last_vector_has_been_trained(base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Schedule, "variance_ratio", 0.0)  # the losses hardly differ from the start
    word, start = make(base, "progressive", max_train_steps=9), make(base, "progressive").trainable.rows.detach()
    word.schedule.early_stop = EarlyStop(every=1, pictures=2, window=2, ratio=0.1)
    (rows,) = trained(base, tmp_path, word)
    assert word.schedule.settled and word.schedule.step == 7  # two looks and one more after the fourth step, where the last vector joins
    assert ((rows - start).abs().amax(dim=1) > 1e-4).all()


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
            word.trainable.rows += 0.1
        batch_losses(base, [word], [drawn(base, word)], most=9)
    assert plain.trainable.rows.grad is not None
    assert pulled.trainable.rows.grad is not None
    torch.testing.assert_close(pulled.trainable.rows.grad, plain.trainable.rows.grad + 10.0 * 2 * torch.full_like(plain.trainable.rows, 0.1) / 2)


def test_a_regularised_word_stays_nearer(base: BaseModel, tmp_path: Path) -> None:
    coarse = initializer_row(base, "dog")
    far, near = (trained(base, tmp_path, make(base, name, max_train_steps=20))[0] for name in ("textual_inversion", "regularised"))
    assert (near - coarse).norm() < 0.8 * (far - coarse).norm()
    with pytest.raises(ValidationError, match="greater than 0"):
        method("regularised").Options(weight=0.0)


def test_an_encoders_word_stays_near_its_start_at_the_held_norm(base: BaseModel, tmp_path: Path) -> None:
    start = make(base, "norm_held").trainable.rows.detach().clone()
    far, near = (trained(base, tmp_path, make(base, name, max_train_steps=20))[0] for name in ("norm_held", "encoder"))
    assert (near - start).norm() < 0.8 * (far - start).norm()
    torch.testing.assert_close(near.norm(dim=1), start.norm(dim=1))


@pytest.mark.parametrize("family", ["sd1", "sdxl", "sd3", "flux-dev", "z-image"])
def test_a_held_norm_is_the_vocabularys(tmp_path: Path, family: str) -> None:
    base = load_base_model.__wrapped__(str(save_tiny_pipeline(tmp_path / family, family=family)), None, "cpu")
    start, seen = initializer_row(base, "dog"), []
    word = make(base, "norm_held", num_vectors=2)
    (learned,) = trained(base, tmp_path, word, on_step=lambda word: seen.append(word.trainable.rows.detach().clone()))
    wanted = torch.tensor([float(encoder.table.weight.norm(dim=1).mean()) for encoder in base.text_encoders]).expand(2, -1)
    for rows in (*seen, learned):
        torch.testing.assert_close(torch.stack([part.norm(dim=1) for part in rows.split(base.widths, dim=1)], dim=1), wanted)
    assert torch.cosine_similarity(learned[0], start, dim=0) < 0.9999


def test_a_picture_has_its_own_vector_and_the_word_alone_is_learned(base: BaseModel, tmp_path: Path) -> None:
    word, first_id = make(base, "per_image", num_vectors=2), len(base.tokenizer)
    word.data.batch_size, word.data.stds = 64, torch.zeros_like(word.data.stds)
    batch = drawn(base, word)
    for latents, ids in zip(batch.latents, batch.input_ids[:, 0], strict=True):
        picture = next(index for index, mean in enumerate(word.data.means) if torch.equal(latents, mean))
        assert ids[ids >= first_id].tolist() == [first_id, first_id + 1, first_id + 2 + picture]
    word = make(base, "per_image", num_vectors=2)
    (learned,) = trained(base, tmp_path, word)
    assert word.trainable.rows.shape[0] == 5
    assert learned.shape[0] == 2
    assert torch.equal(learned, word.trainable.average[:2])
    with pytest.raises(ValueError, match="style"):
        make(base, "per_image", "style")


@pytest.mark.parametrize("name", METHODS)
def test_a_picture_is_captioned_with_what_else_it_shows(base: BaseModel, name: str) -> None:
    word = make(base, name, contexts=("", "on the moon", "in the snow"))
    word.data.batch_size, word.data.stds, word.data.prior = 64, torch.zeros_like(word.data.stds), None
    batch = drawn(base, word)
    for latents, ids in zip(batch.latents, batch.input_ids[:, 0], strict=True):
        picture = next(index for index, mean in enumerate(word.data.means) if torch.equal(latents, mean))
        text = base.tokenizer.decode(ids[ids < len(base.tokenizer)])
        assert [where in text for where in ("on the moon", "in the snow")] == [picture == 1, picture == 2]


def test_an_extended_word_starts_as_the_plain_word_and_each_layer_goes_its_own_way(base: BaseModel, tmp_path: Path) -> None:
    word, layers, width = make(base, "extended", num_vectors=2), len(cross_attentions(base.denoiser)), sum(base.widths)
    plain = make(base, "textual_inversion", num_vectors=2)
    latents = torch.randn(1, *base.latent_shape, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        start, expected = (
            base.denoise(latents, 500, encode_prompts(base, ["a photo of a <fox>"], {"<fox>": each.trainable.rows})) for each in (word, plain)
        )
    torch.testing.assert_close(start, expected, atol=1e-5, rtol=1e-5)
    (learned,) = trained(base, tmp_path, word)
    assert learned.shape == (2, layers * width)
    of_layers = learned.unflatten(1, (layers, width))
    assert all(not torch.allclose(of_layers[:, 0], of_layers[:, number], atol=1e-4) for number in range(1, layers))


def test_each_cross_attention_layer_reads_its_own_rows(base: BaseModel) -> None:
    layers, width = list(cross_attentions(base.denoiser).values()), sum(base.widths)
    rows = torch.stack([initializer_row(base, noun) for noun in ("dog", "cat", "moon", "beach")[: len(layers)]])
    read: list[Tensor] = []

    def listen(layer: nn.Module, inputs: tuple[Tensor, ...], keywords: dict[str, Tensor], output: Tensor) -> None:
        read.append(keywords["encoder_hidden_states"])

    handles = [layer.register_forward_hook(listen, with_kwargs=True) for layer in layers]
    with torch.no_grad():
        condition = encode_prompts(base, ["a <fox>", "a cat"], {"<fox>": rows.flatten()[None]})
        base.denoise(torch.zeros(2, *base.latent_shape), 500, condition)
    for handle in handles:
        handle.remove()
    for own, row in zip(read, rows, strict=True):
        alone = encode_prompts(base, ["a <fox>", "a cat"], {"<fox>": row[None]}).hidden
        torch.testing.assert_close(own, alone, atol=1e-5, rtol=1e-5)
    assert condition.hidden.shape[-1] == len(layers) * width


def test_dreambooth_reads_as_a_rare_word_and_its_class_and_changes_the_denoiser_alone(base: BaseModel, tmp_path: Path) -> None:
    word = make(base, "dreambooth")
    rows = torch.stack([initializer_row(base, "alien"), initializer_row(base, "dog")])
    (learned,) = trained(base, tmp_path, word)
    assert torch.equal(learned, rows)
    changes = word.learned.adapter
    weights = {name: module for name, module in base.denoiser.named_modules() if getattr(module, "weight", None) is not None}
    assert changes.keys() == weights.keys()
    assert all(change[0].abs().max() > 0 for change in changes.values())
    with pytest.raises(ValueError, match=r"initializer_token 'nobodyknows' is .* choose a word of one token"):
        make(base, "dreambooth", options={"identifier": "nobodyknows", "prior": None})


def test_a_dreambooth_that_waits_takes_no_memory(base: BaseModel, tmp_path: Path) -> None:
    words = [make(base, "dreambooth"), make(base, "dreambooth")]
    words[1].concept = "another"
    occupied = []

    def memory(word: Training) -> float:
        """Bytes for each number of the differences."""
        factors = word.trainable.factors
        return sum(factor.untyped_storage().nbytes() for factor in factors) / sum(factor.numel() for factor in factors)

    checkpoints = {word.concept: tmp_path / f"{word.concept}.pt" for word in words}
    for _ in train(base, words, checkpoints, 100, at_once=1, on_step=lambda word: occupied.append((word.concept, memory(words[1])))):
        pass
    assert {concept: bytes_each for concept, bytes_each in occupied} == {words[0].concept: pytest.approx(0, abs=0.2), "another": 4}


def test_perfusion_locks_the_keys_to_the_class_and_learns_the_values(base: BaseModel, tmp_path: Path) -> None:
    word = make(base, "perfusion")
    checkpoints, ended = {word.concept: tmp_path / "word.pt"}, []
    ended += train(base, [word], checkpoints, 100)
    changes = ended[0].result.adapter
    assert {name.rpartition(".")[2] for name in changes} == {"to_k", "to_v"}
    ids = token_ids(base, ["a photo of a <fox>", "the <fox>"], {"<fox>": 1})
    with torch.no_grad():
        own, of_class = (
            encode_tokens(base, ids, rows).hidden[ids[:, 0] >= len(base.tokenizer)].mean(0)
            for rows in (ended[0].result.rows, initializer_row(base, "dog")[None])
        )
    for name, (key, metric, output, gate) in changes.items():
        torch.testing.assert_close(key, own, atol=1e-5, rtol=1e-4)
        assert float(metric @ key) == pytest.approx(1.0, abs=1e-4)
        assert gate.tolist() == pytest.approx([0.75, 0.1])
        weight = base.denoiser.get_submodule(name).weight
        if name.endswith("to_k"):
            torch.testing.assert_close(output, weight @ of_class, atol=1e-4, rtol=1e-4)
        else:
            assert not torch.allclose(output, weight @ key, atol=1e-3)


def test_alpha_scales_the_rate_of_a_loras_second_factor(base: BaseModel) -> None:
    rates = {}
    for alpha in (None, 2, 1):
        word = make(base, "lora", options=SETTINGS["lora"] | {"alpha": alpha, "steps": None})
        rates[alpha] = [group["lr"] for group in word.trainable.optimizer.param_groups]
    assert rates[None] == rates[2] == [1e-2, 1e-2, 5e-3]
    assert rates[1] == [1e-2, 5e-3, 5e-3]


@pytest.mark.parametrize("name", ["extended", "perfusion"])
def test_a_denoiser_without_cross_attention_is_refused_before_any_training(base: BaseModel, name: str) -> None:
    bare: Any = SimpleNamespace(denoiser=nn.Sequential(nn.Linear(2, 2)), layers=lambda targets: {}, identity={"model": "a/base"})
    chosen = method(name)
    with pytest.raises(ValueError, match=rf"invert\.method {name} .*a/base has none"):
        chosen.prepare(bare, make(base, "textual_inversion"), chosen.Options(**SETTINGS[name]))
