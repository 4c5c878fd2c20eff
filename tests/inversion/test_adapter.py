"""Pivotal tuning: the denoiser listens to its word better, and only where the LoRA is put on."""

import sys
from dataclasses import replace
from pathlib import Path

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
from tasks.words.embedding_file import ADAPTER
from tasks.words.learned import Learned, taught
from tests.support.words import make


def tuned(base: BaseModel, folder: Path, steps: int = 4) -> tuple[Training, Learned]:
    """A word that took two steps, and what was learned once the denoiser was tuned around it."""
    word = make(base, "pivotal", max_train_steps=2, options={"steps": steps, "rank": 2, "learning_rate": 1e-2})
    (ended,) = train(base, [word], {word.concept: folder / "word.pt"}, 2)
    assert ended.result is not None and ended.before is word
    return word, ended.result


def predict(base: BaseModel) -> Tensor:
    latents = torch.randn(2, *base.latent_shape, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return base.denoise(latents, 500, encode_prompts(base, ["a photo of a dog"]).repeat(2))


def loss(base: BaseModel, word: Training) -> float:
    """The loss on a batch that is the same at every call."""
    state = word.data.generator.get_state()
    word.data.generator.manual_seed(7)
    word.data.batch_size = 64
    with torch.no_grad():
        found = float(batch_losses(base, [word], [drawn(base, word)], most=64)[0])
    word.data.generator.set_state(state)
    return found


def test_the_denoiser_is_tuned_to_the_word_where_the_lora_is_put_on(base: BaseModel, tmp_path: Path) -> None:
    before = predict(base)
    word, learned = tuned(base, tmp_path, steps=40)
    assert torch.equal(predict(base), before)  # nothing is left of the tuning
    plain = loss(base, word)
    with taught(base, [learned]):
        assert loss(base, word) < plain - 1e-3
        assert (predict(base) - before).abs().max() > 1e-3
    assert torch.equal(predict(base), before)
    assert loss(base, word) == plain


def test_a_pipeline_of_diffusers_loads_the_lora(base: BaseModel, tiny_base_folder: Path, tmp_path: Path) -> None:
    _, learned = tuned(base, tmp_path)
    with taught(base, [learned]):
        ours = predict(base)
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_base_folder, safety_checker=None)
    record = {"settings": {"placeholder_token": "<fox>", "initializer_token": "dog"}, "base": base.identity, "data_sha256": "", "versions": {}}
    (tmp_path / ADAPTER).write_bytes(learned.files("fox", record, base)[ADAPTER])
    pipeline.load_lora_weights(tmp_path, weight_name=ADAPTER)
    latents = torch.randn(2, *base.latent_shape, generator=torch.Generator().manual_seed(5))
    hidden = encode_prompts(base, ["a photo of a dog"]).repeat(2).hidden
    with torch.no_grad():
        theirs = pipeline.unet(latents, 500, hidden).sample
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_words_of_one_prompt_bring_all_their_adapters(base: BaseModel, tmp_path: Path) -> None:
    _, learned = tuned(base, tmp_path)
    doubled = {name: value * 2 if "lora.up" in name or "lora_B" in name else value for name, value in learned.adapter.items()}
    assert any(not torch.equal(doubled[name], value) for name, value in learned.adapter.items())
    with taught(base, [replace(learned, adapter=doubled)]):
        expected = predict(base)
    with taught(base, [learned, replace(learned, placeholder_token="<other>")]) as words:
        assert list(words) == ["<fox>", "<other>"]
        torch.testing.assert_close(predict(base), expected, atol=1e-5, rtol=1e-4)
    assert (predict(base) - expected).abs().max() > 1e-3


def test_a_loss_that_is_not_finite_ends_the_tuning(base: BaseModel, tmp_path: Path) -> None:
    word = make(base, "pivotal", max_train_steps=2)
    before, poisoned = predict(base), []

    def poison(training: Training) -> None:
        if training.phase == "tuning" and not poisoned:
            poisoned.append(training)
            training.data.means[:] = float("nan")

    (ended,) = train(base, [word], {word.concept: tmp_path / "word.pt"}, 100, on_step=poison)
    assert ended.result is None
    assert "the loss of pivotal is not finite at optimizer step 2 of its tuning; lower learning_rate in invert.options" in str(ended.error)
    assert not (tmp_path / "word.tuning.pt").exists()
    assert torch.equal(predict(base), before)


def test_pivotal_without_peft_is_refused_before_any_training(base: BaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)  # as if it were not installed
    with pytest.raises(ValueError, match="pivotal of pivotal needs peft, which is not installed; install the extra pivotal"):
        make(base, "pivotal")


@pytest.mark.parametrize("options", [{}, {"steps": 0, "rank": 2, "learning_rate": 1e-4}, {"steps": 5, "rank": 0, "learning_rate": 1e-4}])
def test_pivotal_settings_without_sense_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=r"steps|rank"):
        method("pivotal").Options(**options)
