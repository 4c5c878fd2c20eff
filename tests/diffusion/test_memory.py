"""Weights of fewer bits, on the CPU, on which bitsandbytes computes too."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from tasks.diffusion import base_model, memory
from tasks.diffusion.base_model import BaseModel, load_base_model
from tasks.diffusion.ddim import encode, generate
from tasks.diffusion.families import FAMILIES
from tasks.diffusion.memory import pick_weights, weights_bytes
from tasks.inversion.loop import train
from tasks.inversion.methods import lora
from tasks.inversion.training import new_training
from tests.support.tiny import RESOLUTION, save_tiny_pipeline

LORA = lora.Options(word="norm_held", layers="linear", rank=2, learning_rate=1e-2, steps=None)
CUDA = torch.device("cuda")
QUANTIZED = Path(sys.prefix) / "quantized"
"""Where `make test` installs bitsandbytes."""


@pytest.fixture(autouse=True)
def bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(QUANTIZED)


@pytest.fixture(scope="module", params=["sd3", "sd3-without-t5", "flux-dev", "z-image"])
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_pipeline(tmp_path_factory.mktemp(family), family=family)


def loaded(folder: Path, family: str, bits: str) -> BaseModel:
    return load_base_model.__wrapped__(str(folder), None, "cpu", None, bits)


def pictures(base: BaseModel) -> torch.Tensor:
    drawn = generate(base, ["a photo of a cat", "a dog on the moon"], [1, 2], {}, 3, 4.0, 2)
    return torch.stack([torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).float() for picture in drawn])


def stored(base: BaseModel) -> list[bytes]:
    """Return the bytes of the denoiser's weights; packed ones are no numbers, so equal ones need not compare equal."""
    return [parameter.numpy().tobytes() for parameter in base.denoiser.parameters()]


def test_fewer_bits_draw_nearly_the_same_and_more_bits_are_nearer(folder: Path, family: str) -> None:
    plain, *fewer = (pictures(loaded(folder, family, bits)) for bits in ("full", "8bit", "4bit"))
    eight, four = ((plain - drawn).abs().mean() for drawn in fewer)
    assert 0 < eight < four
    assert eight < 2  # of 255 grey levels


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_a_word_and_a_lora_learn_over_fewer_bits(folder: Path, family: str, bits: str, tmp_path: Path) -> None:
    base = loaded(folder, family, bits)
    before = stored(base)
    shown = encode(base, [Image.new("RGB", (RESOLUTION, RESOLUTION), colour) for colour in ("red", "blue", "green")])
    word = new_training(base, "fox", "<fox>", "dog", "object", ("a {}",), shown, 1, 2, 5e-2, 3, (0.0, 1.0), average_last=0.0, seed=0)
    start = word.trainable.rows.detach().clone()
    training = lora.prepare(base, word, LORA)
    list(train(base, [training], {"fox": tmp_path / "fox.pt"}, 100))
    assert training.error is None and training.result is not None
    assert (training.result.rows - start).abs().sum() > 0
    assert all(change.up.abs().sum() > 0 for layer, change in training.result.adapter.items() if "add_q_proj" not in layer)
    assert stored(base) == before


@pytest.mark.parametrize(("between", "picked"), [((1, 0), "full"), ((1, 2), "8bit"), ((2, 3), "4bit"), ((3, 4), "4bit")])
def test_auto_takes_as_many_bits_as_the_gpu_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, between: tuple[int, int], picked: str
) -> None:
    folder, family = save_tiny_pipeline(tmp_path, family="flux-dev"), FAMILIES["FluxPipeline"]
    sizes = [1e9, *(weights_bytes(folder, family, weights) for weights in ("full", "8bit", "4bit")), 0.0]
    assert sizes == sorted(sizes, reverse=True)
    free = sum(sizes[index] for index in between) / 2 / memory.FILLED
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 0))
    assert pick_weights("auto", family, folder, CUDA, "tiny") == picked
    assert (f"takes {picked}" in caplog.text) == (picked != "full")


def test_auto_counts_32_bits_on_a_gpu_without_bfloat16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    folder, family = save_tiny_pipeline(tmp_path, family="flux-dev"), FAMILIES["FluxPipeline"]
    assert weights_bytes(folder, family, "full") < 0.8 * weights_bytes(folder, family, "full", 4.0)
    free = 1.1 * weights_bytes(folder, family, "full") / memory.FILLED
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 0))
    assert pick_weights("auto", family, folder, CUDA, "tiny") == "full"
    assert pick_weights("auto", family, folder, CUDA, "tiny", full=4.0) != "full"
    assert "GB of weights in 32 bits" in caplog.text
    counted = []
    monkeypatch.setattr(base_model, "pick_weights", lambda *arguments, full: counted.append(full) or "full")
    for kinds in ({}, {"transformer": torch.bfloat16}):
        monkeypatch.setattr(base_model, "float_types", lambda family, device, kinds=kinds: kinds)
        load_base_model.__wrapped__(str(folder), None, "cpu", RESOLUTION, "auto")
    assert counted == [4.0, 2.0]


def test_auto_keeps_all_bits_where_fewer_are_impossible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    folder = save_tiny_pipeline(tmp_path, family="flux-dev")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1, 1))
    assert pick_weights("auto", FAMILIES["StableDiffusionPipeline"], folder, CUDA, "tiny") == "full"
    assert pick_weights("auto", FAMILIES["FluxPipeline"], folder, torch.device("cpu"), "tiny") == "full"
    monkeypatch.setattr(memory, "find_spec", lambda name: None)
    assert pick_weights("auto", FAMILIES["FluxPipeline"], folder, CUDA, "tiny") == "full"
    assert "install bitsandbytes (the extra `quantized`)" in caplog.text


@pytest.mark.parametrize(
    ("pipeline", "device", "installed", "remedy"),
    [
        ("FluxPipeline", "cpu", None, r"needs bitsandbytes; install it \(the extra `quantized`\)"),
        ("FluxPipeline", "mps", SimpleNamespace(), "set it to auto"),
        ("StableDiffusionPipeline", "cuda", SimpleNamespace(), "set it to auto"),
    ],
)
def test_fewer_bits_are_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipeline: str, device: str, installed: object, remedy: str
) -> None:
    monkeypatch.setattr(memory, "find_spec", lambda name: installed)
    with pytest.raises(ValueError, match=rf"runtime\.memory is 4bit.*{remedy}"):
        pick_weights("4bit", FAMILIES[pipeline], tmp_path, torch.device(device), "tiny")
