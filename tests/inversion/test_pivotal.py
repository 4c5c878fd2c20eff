"""Pivotal tuning: the denoiser listens to its word better, and only where the LoRA is put on."""

import sys
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tasks.diffusion.base_model import BaseModel
from tasks.diffusion.words import encode_prompts
from tasks.inversion.options import OPTIONS
from tasks.inversion.pivotal import adapted, tune
from tasks.inversion.textual_inversion import Word, draw_batch
from tasks.inversion.training import batch_losses, train_words
from tasks.words.embedding_file import LORA
from tests.support.words import make


def tuned(base: BaseModel, folder: Path, steps: int = 4) -> tuple[Word, Path]:
    """A word that took two steps, and the LoRA that was tuned around it."""
    word = make(base, "pivotal", max_train_steps=2, options={"steps": steps, "rank": 2, "learning_rate": 1e-2})
    train_words(base, [word], [folder / "word.pt"], 2)
    (folder / LORA).write_bytes(tune(base, word, folder / "lora.pt", 100))
    return word, folder / LORA


def predict(base: BaseModel) -> Tensor:
    latents = torch.randn(2, *base.latent_shape, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return base.denoise(latents, 500, encode_prompts(base, ["a photo of a dog"]).repeat(2))


def loss(base: BaseModel, word: Word) -> float:
    """The loss on a batch that is the same at every call."""
    state = word.generator.get_state()
    word.generator.manual_seed(7)
    word.batch_size = 64
    with torch.no_grad():
        found = float(batch_losses(base, [word], [draw_batch(word, 1000)], most=64)[0])
    word.generator.set_state(state)
    return found


def test_the_denoiser_is_tuned_to_the_word_where_the_lora_is_put_on(base: BaseModel, tmp_path: Path) -> None:
    before = predict(base)
    word, lora = tuned(base, tmp_path, steps=40)
    assert torch.equal(predict(base), before)  # nothing is left of the tuning
    plain = loss(base, word)
    with adapted(base, [lora]):
        assert loss(base, word) < plain - 1e-3
        assert (predict(base) - before).abs().max() > 1e-3
    assert torch.equal(predict(base), before)
    assert loss(base, word) == plain


def test_a_pipeline_of_diffusers_loads_the_lora(base: BaseModel, tiny_base_folder: Path, tmp_path: Path) -> None:
    _, lora = tuned(base, tmp_path)
    with adapted(base, [lora]):
        ours = predict(base)
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_base_folder, safety_checker=None)
    pipeline.load_lora_weights(lora.parent, weight_name=lora.name)
    latents = torch.randn(2, *base.latent_shape, generator=torch.Generator().manual_seed(5))
    hidden = encode_prompts(base, ["a photo of a dog"]).repeat(2).hidden
    with torch.no_grad():
        theirs = pipeline.unet(latents, 500, hidden).sample
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_words_of_one_prompt_bring_all_their_loras(base: BaseModel, tmp_path: Path) -> None:
    _, lora = tuned(base, tmp_path)
    doubled = {name: value * 2 if "lora.up" in name else value for name, value in load_file(lora).items()}
    save_file(doubled, tmp_path / "doubled.safetensors")
    with adapted(base, [tmp_path / "doubled.safetensors"]):
        expected = predict(base)
    with adapted(base, [lora, lora]):
        torch.testing.assert_close(predict(base), expected, atol=1e-5, rtol=1e-4)
    assert (predict(base) - expected).abs().max() > 1e-3


def test_a_loss_that_is_not_finite_ends_the_tuning(base: BaseModel, tmp_path: Path) -> None:
    word = make(base, "pivotal")
    word.means[:] = float("nan")
    before = predict(base)
    with pytest.raises(FloatingPointError, match="the loss of pivotal is not finite at step 4 of its tuning; lower learning_rate"):
        tune(base, word, tmp_path / "lora.pt", 100)
    assert not (tmp_path / "lora.pt").exists()
    assert torch.equal(predict(base), before)


def test_pivotal_without_peft_is_refused_before_any_training(base: BaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)  # as if it were not installed
    with pytest.raises(ValueError, match="pivotal of pivotal needs peft, which is not installed; install the extra pivotal"):
        make(base, "pivotal")


@pytest.mark.parametrize("options", [{}, {"steps": 0, "rank": 2, "learning_rate": 1e-4}, {"steps": 5, "rank": 0, "learning_rate": 1e-4}])
def test_pivotal_settings_without_sense_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=r"steps|rank"):
        OPTIONS["pivotal"](**options)
