"""Words in the formats of other tools: the same numbers there and back, in the layouts that those tools read, and nothing of a file is run."""

import io
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tasks.words.embedding_file import embedding_file
from tasks.words.formats import FORMATS, joined, read_word
from tests.support.tiny import save_tiny_pipeline

SD, SDXL = [768], [768, 1280]
RECORD = {
    "settings": {"placeholder_token": "<fox>", "initializer_token": "dog", "kind": "style", "max_train_steps": 500},
    "base": {"model": "a/base", "revision": None, "weights_sha256": "0" * 64},
    "data_sha256": "",
    "versions": {},
}


def random_rows(num_vectors: int, widths: list[int]) -> Tensor:
    return torch.randn(num_vectors, sum(widths), generator=torch.Generator().manual_seed(num_vectors))


def parts_of(widths: list[int]) -> dict[str, int]:
    return dict(zip(("clip_l", "clip_g", "t5xxl"), widths, strict=False))


def ours(folder: Path, rows: Tensor, widths: list[int]) -> Path:
    """Write the catalog's own file."""
    path = folder / "learned_embeds.safetensors"
    path.write_bytes(embedding_file("fox", rows, RECORD, parts_of(widths), "stable-diffusion-v1"))
    return path


def exported(folder: Path, style: str, rows: Tensor, widths: list[int]) -> dict[str, Path]:
    """Write a word in a format and return its files by name."""
    place = folder / style
    place.mkdir()
    files = FORMATS[style](read_word(ours(folder, rows, widths)), "mint")
    for name, data in files.items():
        (place / name).write_bytes(data)
    return {name: place / name for name in files}


@pytest.mark.parametrize("widths", [SD, SDXL], ids=["sd", "sdxl"])
@pytest.mark.parametrize("num_vectors", [1, 3])
@pytest.mark.parametrize("style", FORMATS)
def test_a_word_comes_back_as_it_went(tmp_path: Path, style: str, num_vectors: int, widths: list[int]) -> None:
    rows = random_rows(num_vectors, widths)
    files = exported(tmp_path, style, rows, widths)
    word = read_word(tmp_path / style if len(files) > 1 else next(iter(files.values())))
    assert word.token == "<fox>"
    assert torch.equal(joined(word, widths, "the base"), rows)


def test_the_diffusers_file_is_the_catalogs_own(tmp_path: Path) -> None:
    for widths in (SD, SDXL):
        rows = random_rows(2, widths)
        path = ours(tmp_path, rows, widths)
        assert FORMATS["diffusers"](read_word(path), "fox") == {"fox.safetensors": path.read_bytes()}


@pytest.mark.parametrize("parts", [{"clip_l": 768, "clip_g": 1280, "t5xxl": 4096}, {"clip_l": 768, "t5xxl": 4096}], ids=["sd3", "flux"])
def test_words_of_t5_come_back_from_every_format(tmp_path: Path, parts: dict[str, int]) -> None:
    rows, path = random_rows(2, list(parts.values())), tmp_path / "learned_embeds.safetensors"
    path.write_bytes(embedding_file("fox", rows, RECORD, parts, "flux-1-dev"))
    for style, write in FORMATS.items():
        for name, data in write(read_word(path), "mint").items():
            if name.endswith(".safetensors"):
                (tmp_path / name).write_bytes(data)
                assert list(load_file(tmp_path / name)) == sorted(parts), style
                assert torch.equal(joined(read_word(tmp_path / name), list(parts.values()), "the base"), rows)
    onetrainers = {name.replace("t5xxl", "t5"): part for name, part in load_file(path).items()}
    save_file(onetrainers, tmp_path / "onetrainer.safetensors")
    assert torch.equal(joined(read_word(tmp_path / "onetrainer.safetensors"), list(parts.values()), "the base"), rows)
    with pytest.raises(ValueError, match=r"has vectors of 768 .* 4096 values, another's have 768 \+ 1280; it is a word of another base model"):
        joined(read_word(path), SDXL, "another")


@pytest.mark.parametrize("style", ["kohya", "comfyui"])
def test_the_layout_of_kohya_and_comfyui(tmp_path: Path, style: str) -> None:
    for widths, keys in ((SD, {"emb_params": (3, 768)}), (SDXL, {"clip_l": (3, 768), "clip_g": (3, 1280)})):
        ((name, data),) = FORMATS[style](read_word(ours(tmp_path, random_rows(3, widths), widths)), "mint").items()
        assert name == "mint.safetensors"  # the file's name is the word there
        (tmp_path / name).write_bytes(data)
        assert {key: tuple(value.shape) for key, value in load_file(tmp_path / name).items()} == keys
        assert read_word(tmp_path / name).metadata["modelspec.architecture"] == "stable-diffusion-v1/textual-inversion"


def test_the_layout_of_a1111(tmp_path: Path) -> None:
    rows = random_rows(3, SD)
    files = exported(tmp_path, "a1111", rows, SD)
    content = torch.load(files["mint.pt"], weights_only=True)
    assert torch.equal(content.pop("string_to_param")["*"], rows)
    assert content == {"string_to_token": {"*": 265}, "name": "<fox>", "step": 500, "sd_checkpoint": None, "sd_checkpoint_name": "a/base"}
    sdxl = FORMATS["a1111"](read_word(ours(tmp_path, random_rows(1, SDXL), SDXL)), "mint")
    assert list(sdxl) == ["mint.safetensors"]  # there is no SDXL word in A1111's own pickle


def test_the_layout_of_the_concepts_library(tmp_path: Path) -> None:
    rows = random_rows(1, SD)
    files = exported(tmp_path, "sd-concepts-library", rows, SD)
    content = torch.load(files["learned_embeds.bin"], weights_only=True)
    assert list(content) == ["<fox>"]
    assert torch.equal(content["<fox>"], rows[0])  # (dim,), as that library has a single vector
    assert files["token_identifier.txt"].read_text() == "<fox>"
    assert files["type_of_concept.txt"].read_text() == "style"
    assert "`<fox>` is a style that was taught to a/base" in files["README.md"].read_text()


def test_no_folder_of_this_machine_is_exported(tmp_path: Path) -> None:
    record = RECORD | {"base": {"model": str(tmp_path / "secret" / "base"), "revision": None, "weights_sha256": "0" * 64}}
    path = tmp_path / "x.safetensors"
    path.write_bytes(embedding_file("fox", random_rows(1, SD), record, parts_of(SD), "stable-diffusion-v1"))
    for style, write in FORMATS.items():
        assert not [name for name, data in write(read_word(path), "fox").items() if b"secret" in data], style


@pytest.fixture(scope="module", params=["sd1", "sdxl"])
def pipeline_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_pipeline(tmp_path_factory.mktemp(request.param), family=request.param)


@pytest.mark.parametrize("num_vectors", [1, 3])
@pytest.mark.parametrize("style", FORMATS)
def test_diffusers_loads_what_is_exported(tmp_path: Path, pipeline_folder: Path, style: str, num_vectors: int) -> None:
    pipeline: Any = DiffusionPipeline.from_pretrained(pipeline_folder)
    encoders = [(pipeline.tokenizer, pipeline.text_encoder)]
    if "tokenizer_2" in pipeline.components:
        encoders.append((pipeline.tokenizer_2, pipeline.text_encoder_2))
    widths = [encoder.get_input_embeddings().embedding_dim for _, encoder in encoders]
    rows = random_rows(num_vectors, widths)
    files = exported(tmp_path, style, rows, widths)
    if len(widths) == 2:
        tensors = load_file(next(path for name, path in files.items() if name.endswith(".safetensors")))
        for key, (tokenizer, encoder) in zip(("clip_l", "clip_g"), encoders, strict=True):
            pipeline.load_textual_inversion(tensors[key], token="<fox>", tokenizer=tokenizer, text_encoder=encoder)
    elif style in ("kohya", "comfyui"):  # whose file does not say the word
        pipeline.load_textual_inversion(str(files["mint.safetensors"]), token="<fox>")
    else:
        pipeline.load_textual_inversion(str(tmp_path / style if len(files) > 1 else next(iter(files.values()))))
    tokens = ["<fox>", "<fox>_1", "<fox>_2"][:num_vectors]
    for (tokenizer, encoder), part in zip(encoders, rows.split(widths, dim=1), strict=True):
        assert pipeline.maybe_convert_prompt("a <fox>", tokenizer) == f"a {' '.join(tokens)}"
        ids = tokenizer.convert_tokens_to_ids(tokens)
        assert torch.equal(encoder.get_input_embeddings().weight[ids], part)


def a1111_content(rows: Any, **values: Any) -> dict[str, Any]:
    return {"string_to_token": {"*": 265}, "string_to_param": {"*": rows}, "name": "charturner", "step": 1, **values}


@pytest.mark.parametrize(
    ("content", "token"),
    [
        (a1111_content(torch.ones(2, 768)), "charturner"),
        (a1111_content(nn.Parameter(torch.ones(2, 768))), "charturner"),
        ({"emb_params": torch.ones(2, 768, dtype=torch.float16)}, None),
        ({"<cat-toy>": torch.ones(2, 768, dtype=torch.bfloat16)}, "<cat-toy>"),
    ],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_pickles_of_other_tools_are_read(tmp_path: Path, content: dict, token: str | None, legacy: bool) -> None:
    path = tmp_path / "word.safetensors"  # the extension does not decide
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    word = read_word(path)
    assert word.token == token
    assert torch.equal(joined(word, SD, "the base"), torch.ones(2, 768))


@pytest.mark.parametrize("old", [False, True])
def test_the_papers_own_files_are_read(tmp_path: Path, old: bool) -> None:
    rows = nn.ParameterDict({"*": nn.Parameter(torch.ones(2, 768))})
    if old:
        del rows._keys  # PyTorch 1.11 had no such attribute
    torch.save({"string_to_token": {"*": torch.tensor(265)}, "string_to_param": rows}, tmp_path / "embeddings_gs-6099.pt")
    word = read_word(tmp_path / "embeddings_gs-6099.pt")
    assert word.token is None
    assert torch.equal(joined(word, SD, "the base"), torch.ones(2, 768))


def test_safetensors_under_any_name_is_read(tmp_path: Path) -> None:
    save_file({"emb_params": torch.ones(1, 768)}, tmp_path / "EasyNegative.pt")
    assert read_word(tmp_path / "EasyNegative.pt").token is None


def test_a_folder_of_the_library_is_read(tmp_path: Path) -> None:
    torch.save({"<cat-toy>": torch.ones(768)}, tmp_path / "learned_embeds.bin")
    (tmp_path / "token_identifier.txt").write_text("<cat-toy>\n")
    word = read_word(tmp_path)
    assert (word.token, word.path.name, word.parts[0].shape) == ("<cat-toy>", "learned_embeds.bin", (1, 768))
    save_file({"clip_l": torch.ones(1, 768), "clip_g": torch.ones(1, 1280)}, tmp_path / "learned_embeds.safetensors")
    assert read_word(tmp_path).token == "<cat-toy>"


class Intruder:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def torch_file(content: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["word.pt", "word.bin", "word.safetensors"])
@pytest.mark.parametrize("kind", ["pickle", "torch", "legacy"])
def test_a_pickle_runs_nothing_whatever_it_is_called(tmp_path: Path, name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    touched, path = tmp_path / "touched", tmp_path / name
    content = a1111_content(torch.ones(1, 768), intruder=Intruder(touched))
    path.write_bytes(pickle.dumps(content) if kind == "pickle" else torch_file(content, _use_new_zipfile_serialization=kind == "torch"))
    with pytest.raises(ValueError, match="could run a program, so it is not read"):
        read_word(path)
    assert not touched.exists()
    if kind == "pickle":
        pickle.loads(path.read_bytes())
    else:
        torch.load(io.BytesIO(path.read_bytes()), weights_only=False)
    assert touched.exists()  # it would have


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "holds no vectors"),
        ({"<a>": torch.ones(0, 768)}, "holds no vectors"),
        ({"<a>": torch.ones(1, 768), "<b>": torch.ones(1, 768)}, r"holds 2 tokens \(<a>, <b>\); a concept is one word"),
        ({"<a>": torch.ones(1, 1, 768)}, r"vectors of shape \(1, 1, 768\); a word is \(vectors, dim\)"),
        ({"<a>": torch.tensor(1.0)}, r"vectors of shape \(\); a word is"),
        ({"<a>": torch.full((1, 768), float("nan"))}, "NaN or infinity"),
        ({"<a>": torch.full((1, 768), float("inf"))}, "NaN or infinity"),
        ({"<a>": torch.ones(1, 768, dtype=torch.int64)}, "holds a tensor of torch.int64"),
        ({"clip_l": torch.ones(1, 768), "clip_g": torch.ones(2, 1280)}, "1 and 2 vectors for its text encoders"),
    ],
)
@pytest.mark.parametrize("kind", ["safetensors", "pickle"])
def test_what_is_no_word_is_refused(tmp_path: Path, content: dict[str, Tensor], message: str, kind: str) -> None:
    path = tmp_path / "word"
    if kind == "safetensors":
        save_file(content, path)
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=message):
        read_word(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (a1111_content(torch.ones(1, 768)) | {"string_to_param": {"a": torch.ones(1, 768), "b": torch.ones(1, 768)}}, r"2 tokens \(a, b\)"),
        (a1111_content(torch.ones(1, 768)) | {"string_to_param": 3}, "holds no vectors"),
        (a1111_content("three"), "holds a str where a word's vectors are expected"),
        ([torch.ones(1, 768)], "holds a list and not tensors by name"),
        ({"<a>": torch.ones(1).expand(2**40, 768)}, "that is no word"),  # a few bytes that claim terabytes
    ],
)
def test_odd_pickles_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "word.pt")
    with pytest.raises(ValueError, match=message):
        read_word(tmp_path / "word.pt")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "neither safetensors nor a PyTorch file"),
        (b"<html>not found</html>", "neither safetensors nor a PyTorch file"),
        (b"PK\x03\x04 and no more", "damaged PyTorch file"),
        (b"\x80\x02", "damaged PyTorch file"),
        ((20).to_bytes(8, "little") + b"{" + 19 * b"x", "damaged safetensors file"),
        (b"\0" * (17 * 2**20), "17 MiB"),
    ],
)
def test_what_is_no_file_of_tensors_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "word.pt").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_word(tmp_path / "word.pt")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"neither learned_embeds\.safetensors nor learned_embeds\.bin"):
        read_word(tmp_path)


@pytest.mark.parametrize(
    ("made_for", "widths", "message"), [(SD, SDXL, "of 768 values, b's have 768 \\+ 1280"), (SDXL, SD, "of 768 \\+ 1280 values, b's")]
)
def test_another_width_is_refused(tmp_path: Path, made_for: list[int], widths: list[int], message: str) -> None:
    word = read_word(ours(tmp_path, random_rows(1, made_for), made_for))
    with pytest.raises(ValueError, match=message):
        joined(word, widths, "b")


def test_settings_of_a_stranger_are_none(tmp_path: Path) -> None:
    for text in ("[1]", "{", json.dumps({"kind": "style"})):
        save_file({"emb_params": torch.ones(1, 768)}, tmp_path / "x.safetensors", {"settings": text})
        assert read_word(tmp_path / "x.safetensors").settings == ({"kind": "style"} if "kind" in text else {})
