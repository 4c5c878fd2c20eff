"""A LoRA in training: the denoiser learns its word, many at once as each alone, and nothing stays on the denoiser."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from pydantic import ValidationError
from torch import Tensor

from tasks.diffusion.base_model import BaseModel
from tasks.diffusion.words import encode_prompts
from tasks.inversion.loop import train
from tasks.inversion.methods import method
from tasks.inversion.passes import batch_losses, drawn
from tasks.inversion.training import Training
from tasks.words.embedding_file import ADAPTERS
from tasks.words.learned import Learned, taught
from tests.support.words import make

OPTIONS = {"word": "textual_inversion", "layers": "attention", "rank": 2, "learning_rate": 1e-2}


def lora(base: BaseModel, steps: int | None = 4, **changes: Any) -> Training:
    """A word of two steps with a LoRA after it, or of four with a LoRA beside it."""
    options = OPTIONS | {"steps": steps} | changes.pop("options", {})
    return make(base, "lora", max_train_steps=2 if steps else 4, options=options, **changes)


def trained(base: BaseModel, folder: Path, *words: Training) -> list[Training]:
    paths = {f"{number}": folder / f"{number}.pt" for number, _ in enumerate(words)}
    for number, word in enumerate(words):
        word.concept = f"{number}"
    ended = {training.concept: training for training in train(base, words, paths, 2)}
    return [ended[name] for name in paths]


def learned(base: BaseModel, folder: Path, **options: Any) -> Learned:
    (ended,) = trained(base, folder, lora(base, **options))
    assert ended.result is not None
    return ended.result.on_the_cpu()


def predict(base: BaseModel, words: dict[str, Tensor], prompt: str = "a photo of a <fox>") -> Tensor:
    latents = torch.randn(2, *base.latent_shape, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        condition = encode_prompts(base, [prompt], words).repeat(2)
        if condition.strengths is not None:  # on whole pictures, as in other tools
            condition = condition._replace(strengths=condition.strengths.amax(dim=2, keepdim=True))
        return base.denoise(latents, 500, condition)


def loss(base: BaseModel, training: Training) -> float:
    """The loss on a batch that is the same at every call."""
    training.data.generator.manual_seed(7)
    training.data.batch_size = 64
    with torch.no_grad():
        return float(batch_losses(base, [training], [drawn(base, training)], most=64)[0])


@pytest.mark.parametrize("steps", [40, None])
def test_the_denoiser_learns_the_word(base: BaseModel, tmp_path: Path, steps: int | None) -> None:
    word = lora(base, steps)
    if steps is None:
        word.schedule.max_train_steps = 40
    rows = word.trainable.rows.detach().clone()
    plain = loss(base, make(base, "textual_inversion"))
    before = predict(base, {"<fox>": rows})
    (ended,) = trained(base, tmp_path, word)
    assert ended.result is not None
    assert loss(base, ended) < plain - 1e-3
    assert torch.equal(predict(base, {"<fox>": rows}), before)  # nothing of the training stays on the denoiser
    assert not torch.equal(ended.result.rows, rows)


def test_the_word_stays_as_it_was_found_while_the_denoiser_is_tuned(base: BaseModel, tmp_path: Path) -> None:
    (plain,) = trained(base, tmp_path / "plain", make(base, "textual_inversion", max_train_steps=2))
    assert plain.result is not None
    assert torch.equal(learned(base, tmp_path / "lora").rows, plain.result.rows)


@pytest.mark.parametrize("steps", [4, None])
def test_adapters_in_company_are_the_adapters_alone(base: BaseModel, tmp_path: Path, steps: int | None) -> None:
    """The gradients to 1e-4 of their length, what is learned to 1 %: Adam divides by a gradient's size, so rounding shows where that is least."""
    cases: list[dict[str, Any]] = [{}, {"options": {"rank": 1}}, {"options": {"layers": "convolutions"}}, {"contexts": ("", "on the moon", "")}]
    alone = [trained(base, tmp_path / f"alone{number}", lora(base, steps, **case))[0] for number, case in enumerate(cases)]
    together = trained(base, tmp_path / "together", *(lora(base, steps, **case) for case in cases), make(base, "textual_inversion"))
    for one, other in zip(alone, together, strict=False):
        assert one.result is not None and other.result is not None
        torch.testing.assert_close(other.result.rows, one.result.rows, atol=1e-5, rtol=0)
        assert other.result.adapter.keys() == one.result.adapter.keys()
        for layer, change in one.result.adapter.items():
            for factor, found in zip(change, other.result.adapter[layer], strict=True):
                assert (found - factor).norm() < 0.01 * factor.norm(), layer
    assert together[-1].result is not None and not together[-1].result.adapter


def test_a_gradient_in_company_is_the_gradient_alone(base: BaseModel) -> None:
    def gradients(some: list[Training]) -> list[list[Tensor]]:
        for training in some:
            training.trainable.optimizer.zero_grad(set_to_none=True)
        batch_losses(base, some, [drawn(base, training) for training in some], most=1 << 20)
        return [[factor.grad.clone() for factor in training.trainable.factors if factor.grad is not None] for training in some]

    cases: list[dict[str, Any]] = [{}, {"layers": "convolutions"}, {"rank": 1}, {}]
    trainings = [lora(base, None, options=case) for case in cases]
    for number, training in enumerate(trainings):
        training.concept = f"{number}"
        for factor in training.trainable.factors:  # `up` starts at 0, where `down` has no gradient
            factor.data.add_(0.1 * torch.randn(factor.shape, generator=torch.Generator().manual_seed(number)))
    states = [training.data.generator.get_state() for training in trainings]
    together = gradients(trainings)
    for training, state, found in zip(trainings, states, together, strict=True):
        training.data.generator.set_state(state)
        ((*alone,),) = gradients([training])
        assert len(alone) == len(found) == len(training.trainable.factors)
        for one, other in zip(alone, found, strict=True):
            assert (one - other).norm() < 1e-4 * one.norm()


def test_a_pipeline_of_diffusers_loads_the_lora(base: BaseModel, tiny_base_folder: Path, tmp_path: Path) -> None:
    concept = learned(base, tmp_path, options={"layers": "convolutions"})
    with taught(base, [concept]) as words:
        ours, hidden = predict(base, words), encode_prompts(base, ["a photo of a <fox>"], words).repeat(2).hidden
    assert (ours - predict(base, words)).abs().max() > 1e-3
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_base_folder, safety_checker=None)
    record = {"settings": {"placeholder_token": "<fox>", "initializer_token": "dog"}, "base": base.identity, "data_sha256": "", "versions": {}}
    (tmp_path / ADAPTERS["lora"]).write_bytes(concept.files("fox", record, base)[ADAPTERS["lora"]])
    pipeline.load_lora_weights(tmp_path, weight_name=ADAPTERS["lora"])
    latents = torch.randn(2, *base.latent_shape, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        theirs = pipeline.unet(latents, 500, hidden).sample
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


def test_a_loss_that_is_not_finite_ends_the_tuning(base: BaseModel, tmp_path: Path) -> None:
    word, poisoned = lora(base), []

    def poison(training: Training) -> None:
        if training.phase == "tuning" and not poisoned:
            poisoned.append(training)
            training.data.means[:] = float("nan")

    (ended,) = train(base, [word], {word.concept: tmp_path / "word.pt"}, 100, on_step=poison)
    assert ended.result is None
    assert "the loss of lora is not finite at optimizer step 2 of its tuning; lower learning_rate in invert.options" in str(ended.error)
    assert not (tmp_path / "word.tuning.pt").exists()


@pytest.mark.parametrize("change", [{"steps": 0}, {"rank": 0}, {"layers": "all"}, {"learning_rate": 0.0}, {"alpha": 0.0}, {"prior": {}}, {"beta": 1}])
def test_settings_without_sense_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(change))):
        method("lora").Options(**OPTIONS | {"steps": 4} | change)


def test_a_rank_above_a_layers_width_is_refused_before_any_training(base: BaseModel) -> None:
    with pytest.raises(ValueError, match=r"invert\.options\.rank of lora is 128, more than the \d+ of .*; lower it"):
        lora(base, options={"rank": 128})
