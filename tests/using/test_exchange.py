"""Words that come from other tools and go to them, by the commands, on tiny random models."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTokenizer
from typer.testing import CliRunner

from flows.cli.main import app
from tasks import artifacts
from tasks.diffusion.base_model import BaseModel
from tasks.diffusion.changes import Gated, LowRank, layers_of
from tasks.diffusion.words import encode_prompts, initializer_row, nearest_words
from tasks.inversion.curves import TRAINING, read_curves
from tasks.inversion.loop import train
from tasks.invert import invert_one
from tasks.pipeline import repository, storage
from tasks.registry import connection, reading
from tasks.registry.connection import tracking_uri
from tasks.settings import load_settings
from tasks.using.export import check_layouts, write_folder, write_pipeline
from tasks.words.adapter_file import to_kohya, to_peft
from tasks.words.embedding_file import embedding_file, read_rows
from tasks.words.formats import FOLDERS, FORMATS, XTI, read_word
from tasks.words.learned import Learned, read_learned, taught
from tests.support.catalogs import draw_picture, dvc
from tests.support.words import make

ROOT = Path(__file__).parents[2]
WIDTH = 32  # of the tiny base model's words


def command(*arguments: str) -> tuple[int, str]:
    undeclared = ("--undeclared", "a test") if arguments[0] == "import" else ()
    result = CliRunner().invoke(app, [*arguments, *undeclared])
    return result.exit_code, result.output


def random_rows(num_vectors: int, seed: int = 0) -> Tensor:
    return torch.randn(num_vectors, WIDTH, generator=torch.Generator().manual_seed(seed))


def make_catalog(folder: Path, base: Path, scorer: Path, **sections: dict) -> None:
    """Make the working directory a catalog of no concept on tiny models, with three pictures of something in photos/."""
    (folder / "tasks").mkdir()
    shutil.copy(ROOT / "dvc.yaml", "dvc.yaml")
    shutil.copytree(base, "data/base/tiny")
    shutil.copytree(scorer, "data/base/tiny-clip")
    text = (ROOT / "params.yaml").read_text()
    values = yaml.safe_load(text)
    values["base"], values["runtime"]["device"] = {"model": "data/base/tiny", "revision": None}, "cpu"
    values["scorer"] = {"model": "local-dir:data/base/tiny-clip", "pretrained": None}
    values["score"]["fidelity"], values["register"]["floor"] = None, False
    values["concepts"] = {"cup-1": {"kind": "object", "placeholder_token": "<cup>", "initializer_token": "coffee"}}
    for section, changes in sections.items():
        values[section].update(changes)
    Path("params.yaml").write_text("# the team's own\n" + yaml.safe_dump(values, sort_keys=False))
    for number in range(3):
        draw_picture(Path("photos") / f"{number}.png", number)
    for arguments in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(arguments, check=True, env=os.environ)


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_base_folder: Path, tiny_scorer_folder: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    make_catalog(tmp_path, tiny_base_folder, tiny_scorer_folder)
    return tmp_path


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and ".git" not in path.parts and ".dvc" not in path.parts
    }


def test_an_import_is_a_concept(catalog: Path) -> None:
    save_file({"emb_params": random_rows(2)}, "Char Turner.v2.safetensors")
    code, output = command("import", "Char Turner.v2.safetensors", "--word", "dog", "--pictures", "photos")
    assert code == 0, output
    assert "imported char-turner-v2 as <char-turner-v2>; next: wordmint build char-turner-v2" in " ".join(output.split())
    concept = load_settings().concept("char-turner-v2")
    stored = artifacts.imported("char-turner-v2") / "Char-Turner.v2.safetensors"
    assert concept.model_dump(exclude_none=True) == {
        "kind": "object",
        "placeholder_token": "<char-turner-v2>",
        "initializer_token": "dog",
        "source": {"file": stored.name, "sha256": artifacts.sha256(Path("Char Turner.v2.safetensors"))},
    }
    assert stored.read_bytes() == Path("Char Turner.v2.safetensors").read_bytes()
    assert Path("params.yaml").read_text().startswith("# the team's own\n")
    assert sorted(path.name for path in artifacts.images("char-turner-v2").iterdir()) == ["0.png", "1.png", "2.png"]
    assert Path("data/images/char-turner-v2.dvc").exists() and Path("data/imported/char-turner-v2.dvc").exists()


def test_invert_takes_an_imported_word_from_its_file(catalog: Path) -> None:
    path = write_word({"<mug>": random_rows(3)})
    code, output = command("import", path, "--word", "coffee", "--pictures", "photos")
    assert code == 0, output
    assert torch.equal(read_rows(invert_one("mug", load_settings()))["<mug>"], random_rows(3))
    train = artifacts.read_json(artifacts.train_record("mug"))
    assert (train["method"], train["stopped"], train["optimizer_steps"], train["seed"]) == ("import", "imported", 0, None)
    assert train["settings"]["source"] == {"file": "mug.pt", "sha256": artifacts.sha256(Path(path))}
    assert read_curves(artifacts.embeddings("mug") / TRAINING) == {}
    stored = artifacts.imported("mug") / "mug.pt"
    stored.unlink()
    with pytest.raises(ValueError, match=r"is not the file with SHA-256 .* that 'mug' was imported from; run `dvc pull` or import it again"):
        invert_one("mug", load_settings())
    write_word({"<mug>": random_rows(3, seed=9)}, str(stored))
    with pytest.raises(ValueError, match=r"is not the file with SHA-256 .* that 'mug' was imported from"):
        invert_one("mug", load_settings())


@pytest.mark.parametrize("layout", [to_peft, to_kohya])
def test_an_imported_word_brings_its_lora(catalog: Path, base: BaseModel, layout: Callable[[Any], dict[str, Tensor]]) -> None:
    generator = torch.Generator().manual_seed(1)
    changes = {
        layer: LowRank(torch.randn(2, *module.weight.shape[1:], generator=generator), torch.randn(len(module.weight), 2, generator=generator))
        for layer, module in layers_of(base.denoiser, "convolutions").items()
    }
    save_file(layout(changes), "mug lora.safetensors")
    code, output = command(
        "import", write_word({"<mug>": random_rows(1)}), "--word", "coffee", "--pictures", "photos", "--lora", "mug lora.safetensors"
    )
    assert code == 0, output
    learned = read_learned(invert_one("mug", load_settings()))
    assert learned.adapter.keys() == changes.keys()
    for layer, change in changes.items():
        for factor, found in zip(change, learned.adapter[layer], strict=True):
            torch.testing.assert_close(found, factor)
    (artifacts.imported("mug") / "mug-lora.safetensors").write_bytes(b"another")
    with pytest.raises(ValueError, match=r"is not the LoRA that 'mug' was imported with; run `dvc pull` or import it again"):
        invert_one("mug", load_settings())


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": torch.ones(1, 32)}, "is no part of a LoRA of this denoiser in kohya's"),
        ({"text_encoder.layer.lora_A.weight": torch.ones(1, 32)}, "is no part of a LoRA of the denoiser in diffusers' layout"),
        ({"unet.nowhere.lora_A.weight": torch.ones(1, 3), "unet.nowhere.lora_B.weight": torch.ones(3, 1)}, "has no such layer"),
        ({"unet.conv_in.lora_A.weight": torch.ones(1, 3)}, "the LoRA lacks the up factor of conv_in"),
        ({}, "holds no LoRA"),
    ],
)
def test_a_bad_lora_changes_nothing(catalog: Path, tensors: dict[str, Tensor], message: str) -> None:
    save_file(tensors, "lora.safetensors")
    path, before = write_word({"<mug>": random_rows(1)}), files_below(catalog)
    code, output = command("import", path, "--word", "dog", "--pictures", "photos", "--lora", "lora.safetensors")
    assert code == 1
    assert message in " ".join(output.split())
    assert {name: data for name, data in files_below(catalog).items() if name in before} == before


def test_a_folder_of_the_library_brings_all_with_it(catalog: Path) -> None:
    folder = Path("cat-toy")
    shutil.copytree("photos", folder / "concept_images")
    torch.save({"<cat-toy>": random_rows(1)[0]}, folder / "learned_embeds.bin")
    (folder / "token_identifier.txt").write_text("<cat-toy>")
    (folder / "type_of_concept.txt").write_text("style")
    code, output = command("import", str(folder), "--word", "cat")
    assert code == 0, output
    concept = load_settings().concept("cat-toy")
    assert concept.source is not None
    assert (concept.kind, concept.placeholder_token, concept.source.file) == ("style", "<cat-toy>", "learned_embeds.bin")
    assert len(list(artifacts.images("cat-toy").iterdir())) == 3


@pytest.mark.parametrize("climbs", ["picture", "folder"])
def test_a_folder_whose_links_lead_out_of_it_is_refused(catalog: Path, tmp_path: Path, climbs: str) -> None:
    folder, secret = tmp_path / "word", tmp_path / "secret"
    shutil.copytree("photos", secret)
    folder.mkdir()
    if climbs == "folder":
        (folder / "concept_images").symlink_to(secret)
    else:
        shutil.copytree("photos", folder / "concept_images")
        (folder / "concept_images" / "x.png").symlink_to(secret / "0.png")
    torch.save({"<mug>": torch.ones(1, 32)}, folder / "learned_embeds.bin")
    before = files_below(catalog)
    code, output = command("import", str(folder), "--word", "cat")
    assert code == 1 and "a link that leads out of" in output
    assert files_below(catalog) == before


def write_word(content: Any, path: str = "mug.pt") -> str:
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        ({"<mug>": torch.ones(1, 768)}, ("--word", "dog", "--pictures", "photos"), "has vectors of 768 values, data/base/tiny's have 32"),
        ({"<mug>": torch.ones(1, 32, 1)}, ("--word", "dog", "--pictures", "photos"), "a word is (vectors, dim)"),
        ({"<mug>": torch.full((1, 32), float("nan"))}, ("--word", "dog", "--pictures", "photos"), "NaN or infinity"),
        ({"<mug>": torch.ones(1, 32), "<cup>": torch.ones(1, 32)}, ("--word", "dog", "--pictures", "photos"), "holds 2 tokens"),
        ({}, ("--word", "dog", "--pictures", "photos"), "holds no vectors"),
        ({"<mug>": torch.ones(1, 32)}, ("--word", "dog"), "compared with pictures of its concept; give 3-5 of them with --pictures"),
        ({"<mug>": torch.ones(1, 32)}, ("--word", "dog", "--pictures", "photos/0.png"), "give 3-5 of them with --pictures"),
        ({"<mug>": torch.ones(1, 32)}, ("--word", "dog", "--pictures", "nowhere"), "nowhere is no picture file"),
        ({"<mug>": torch.ones(1, 32)}, ("--pictures", "photos"), "give one with --word (the nearest are "),
        ({"<mug>": torch.ones(1, 32)}, ("--word", "sketchbook", "--pictures", "photos"), "'sketchbook' is "),
        ({"<mug>": torch.ones(1, 32)}, ("--word", "dog", "--kind", "animal", "--pictures", "photos"), "concepts.mug.kind"),
        ({"<cup>": torch.ones(1, 32)}, ("--word", "dog", "--pictures", "photos"), "<cup> is the word of concept 'cup-1' already"),
        ({"<mug>": torch.ones(1, 32)}, ("--name", "cup-1", "--word", "dog", "--pictures", "photos"), "concept 'cup-1' exists already"),
        ({"<mug>": torch.ones(1, 32)}, ("--name", "../up", "--word", "dog", "--pictures", "photos"), "concept key '../up' must match"),
        ({"<!>": torch.ones(1, 32)}, ("--word", "dog", "--pictures", "photos"), "concept key '' must match"),
    ],
)
def test_a_bad_import_changes_nothing(catalog: Path, content: Any, arguments: tuple[str, ...], message: str) -> None:
    path = write_word(content)
    before = files_below(catalog)
    code, output = command("import", path, *arguments)
    assert code == 1
    assert message in output
    assert output.count("error:") == 1
    assert files_below(catalog) == before


def test_a_word_of_the_vocabulary_is_refused(catalog: Path) -> None:
    tokenizer = CLIPTokenizer.from_pretrained("data/base/tiny/tokenizer")
    tokenizer.add_tokens(["<mug>_1"])  # the second vector's name is taken
    tokenizer.save_pretrained("data/base/tiny/tokenizer")
    path, arguments = write_word({"<mug>": random_rows(2)}), ("--word", "dog", "--pictures", "photos")
    before = files_below(catalog)
    Path("data/base/tiny").rename("data/base/other")  # past the cache of models by path
    params = Path("params.yaml").read_text()
    Path("params.yaml").write_text(params.replace("data/base/tiny\n", "data/base/other\n"))
    code, output = command("import", path, *arguments)
    assert code == 1
    assert "<mug> is already a word of data/base/other; choose another key with --name" in output
    assert not artifacts.images("mug").exists() and not artifacts.imported("mug").exists()
    assert len(files_below(catalog)) == len(before)
    assert command("import", write_word({"<mug>": random_rows(1)}), *arguments)[0] == 0  # one vector has no second name


def own_file(path: Path, rows: Tensor, weights: str = "0" * 64) -> Path:
    """Write a file of ours that was learned on some base model."""
    record = {
        "settings": {"placeholder_token": "<mug>", "initializer_token": "coffee", "kind": "style"},
        "base": {"model": "a/base", "revision": None, "weights_sha256": weights},
        "data_sha256": "",
        "versions": {},
    }
    artifacts.write_bytes(path, embedding_file("mug", rows, record, {"clip_l": WIDTH}, "stable-diffusion-v1"))
    return path


def test_a_word_of_another_base_needs_a_flag(catalog: Path) -> None:
    own_file(Path("learned_embeds.safetensors"), random_rows(1))
    code, output = command("import", "learned_embeds.safetensors", "--pictures", "photos")
    assert code == 1
    assert "was learned on base 000000000000, this one is " in output
    code, output = command("import", "learned_embeds.safetensors", "--pictures", "photos", "--any-base")
    assert code == 0, output
    concept = load_settings().concept("mug")  # the file says all the rest
    assert (concept.kind, concept.placeholder_token, concept.initializer_token) == ("style", "<mug>", "coffee")


def test_a_twin_is_pointed_out(catalog: Path, caplog: pytest.LogCaptureFixture) -> None:
    own_file(artifacts.learned_embeds("cup-1"), random_rows(2))
    assert command("import", write_word({"<mug>": random_rows(2) * 1.5}), "--word", "dog", "--pictures", "photos")[0] == 0
    assert "<mug> is nearly the word of cup-1: their cosine is 1.000" in caplog.text


def test_neighbours_are_by_cosine(catalog: Path) -> None:
    params = yaml.safe_load(Path("params.yaml").read_text())
    rows = {"one": random_rows(2, 1), "twin": random_rows(2, 1) * 2, "far": -random_rows(3, 1).mean(0, keepdim=True), "unbuilt": None}
    for key, value in rows.items():
        params["concepts"][key] = {"kind": "object", "placeholder_token": f"<{key}>", "initializer_token": "dog"}
        if value is not None:
            own_file(artifacts.learned_embeds(key), value)
    Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    code, output = command("neighbours", "one", "--json")
    assert code == 0, output
    found = json.loads(output)
    assert [(row["concept"], row["near_identical"]) for row in found["catalog"]] == [("twin", True), ("far", False)]
    expected = torch.cosine_similarity(rows["one"].mean(0), rows["far"][0], dim=0)  # type: ignore[index, union-attr]
    assert found["catalog"][1]["cosine"] == pytest.approx(float(expected), abs=1e-4)
    assert len(found["vocabulary"]) == 5
    code, output = command("neighbours", "one", "-n", "1")
    assert "<twin>" in output and "nearly the same word" in output and "<far>" not in output
    code, output = command("neighbours", "unbuilt")
    assert code == 1 and "unbuilt has no embedding in data/embeddings/unbuilt" in output


def test_the_nearest_word_of_a_word_is_itself(base: BaseModel) -> None:
    words = nearest_words(base, 3 * initializer_row(base, "teapot"), 4)
    assert words[0] == ("teapot", pytest.approx(1.0, abs=1e-5))
    assert [cosine for _, cosine in words] == sorted((cosine for _, cosine in words), reverse=True)
    for word, _ in words:
        initializer_row(base, word)  # each can be an initializer: it is one token


def test_nothing_registered_is_one_line(catalog: Path) -> None:
    code, output = command("export", "mug", "--format", "kohya")
    assert code == 1 and "nothing is registered yet" in output
    assert not Path("mlruns").exists()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, tiny_base_folder: Path, tiny_scorer_folder: Path) -> Iterator[Path]:
    """A catalog whose only word was imported, built."""
    folder, previous = tmp_path_factory.mktemp("imported"), Path.cwd()
    os.chdir(folder)
    sampling = {"num_inference_steps": 2, "pictures_per_prompt": 2}
    make_catalog(folder, tiny_base_folder, tiny_scorer_folder, curate={"min_similarity": -1.0}, sample=sampling)
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["concepts"] = {}
    Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    torch.save({"string_to_token": {"*": 265}, "string_to_param": {"*": random_rows(3)}, "name": "mug", "step": 7}, "mug.pt")
    for arguments in (("import", "mug.pt", "--word", "coffee", "--pictures", "photos"), ("build",)):
        code, output = command(*arguments)
        assert code == 0, output
    yield folder
    os.chdir(previous)


@pytest.mark.slow
def test_an_imported_word_is_sampled_scored_and_registered(built: Path) -> None:
    assert torch.equal(read_rows(artifacts.learned_embeds("mug"))["<mug>"], random_rows(3))
    assert artifacts.read_json(artifacts.scores("mug"))["embedding_digest"] == artifacts.sha256(artifacts.learned_embeds("mug"))
    assert artifacts.read_json(artifacts.registered("mug"))["aliases"] == ["champion"]
    assert "import of mug.pt" in (artifacts.page("mug") / "index.html").read_text()
    assert "none: imported from mug.pt" in command("show", "mug")[1]
    connection.connect(tracking_uri(load_settings()))
    assert reading.tags("mug", 1)["scored_on_sha256"] == artifacts.folder_digest(artifacts.curated("mug"), "*.png")


@pytest.mark.slow
def test_dvc_and_the_flow_agree_on_an_imported_word(built: Path, forking: dict[str, str]) -> None:
    assert json.loads(dvc("status", "--json")) == {}
    assert "Running stage" not in dvc("repro")
    code, output = command("build")
    assert code == 0 and "nothing to do" in output
    before = artifacts.learned_embeds("mug").read_bytes()
    dvc("repro", "-f", "-s", "invert@mug", **forking)  # through the other door: the same bytes
    assert artifacts.learned_embeds("mug").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize(("reference", "style"), [*(("mug", style) for style in FORMATS), ("mug@champion", "kohya"), ("mug@v1", "kohya")])
def test_a_registered_word_is_exported(built: Path, style: str, reference: str, tmp_path: Path) -> None:
    code, output = command("export", reference, "--format", style, "--out", str(tmp_path / "new") if style in FOLDERS else str(tmp_path))
    assert code == 0, output
    path = Path(output.replace("\n", ""))
    assert path.is_relative_to(tmp_path)
    word = read_word(path)
    assert word.token == "<mug>"
    assert torch.equal(word.parts[0], random_rows(3))
    if style in FOLDERS:
        assert sorted(file.name for file in (path / "concept_images").iterdir()) == ["0.png", "1.png", "2.png"]
        assert Image.open(path / "concept_images" / "0.png").size == (16, 16)


@pytest.mark.slow
def test_the_lineage_of_an_imported_word_is_its_file(built: Path) -> None:
    code, output = command("lineage", "mug", "--json")
    assert code == 0, output
    links = json.loads(output)["links"]
    assert links["imported"]["recorded"]["pictures_sha256"] == artifacts.sha256(Path("mug.pt"))
    assert {name for name, link in links.items() if link["verdict"] != "holds"} == {"commit"}  # nothing is, in this catalog
    with repository.open_repo() as repo:
        stored = storage.cached(repo, artifacts.md5(artifacts.imported("mug") / "mug.pt"))
    data = stored.read_bytes()
    stored.chmod(0o644)
    stored.write_bytes(data[:-1] + b"?")
    code, output = command("lineage", "mug")
    stored.write_bytes(data)
    assert code == 1 and "the lineage of mug v1 is BROKEN at imported: mug.pt has md5" in output


RECORD = {"settings": {"placeholder_token": "<fox>", "initializer_token": "dog"}, "base": {}, "data_sha256": "", "versions": {}}


@pytest.mark.parametrize("name", ["dreambooth", "lora"])
def test_a_whole_pipeline_has_the_word_and_its_weights(catalog: Path, base: BaseModel, name: str) -> None:
    word = make(base, name)
    (ended,) = train(base, [word], {word.concept: Path("word.pt")}, 100)
    assert ended.result is not None
    for file, content in ended.result.on_the_cpu().files("fox", RECORD, base).items():
        Path(file).write_bytes(content)
    embedding, settings = Path("learned_embeds.safetensors"), load_settings()
    concept = read_learned(embedding)
    tags = {"base_weights_sha256": str(base.identity["weights_sha256"]), "base_model": "tiny", "placeholder_token": "<fox>"}
    out = write_pipeline("fox", embedding, tags, concept.adapter, Path("exported/fox"), settings)
    pipeline = StableDiffusionPipeline.from_pretrained(out, safety_checker=None)
    latents = torch.randn(1, *base.latent_shape, generator=torch.Generator().manual_seed(5))
    with torch.no_grad(), taught(base, [concept]) as words:
        condition = encode_prompts(base, ["a photo of a <fox>"], words)
        assert condition.strengths is not None
        ours = base.denoise(latents, 500, condition._replace(strengths=condition.strengths.amax(dim=2, keepdim=True)))
        text, _ = pipeline.encode_prompt("a photo of a <fox>", "cpu", 1, do_classifier_free_guidance=False)
        torch.testing.assert_close(pipeline.unet(latents, 500, text).sample, ours, atol=1e-3, rtol=1e-3)
    with pytest.raises(ValueError, match=r"exported/fox exists already"):
        write_pipeline("fox", embedding, tags, concept.adapter, out, settings)
    with pytest.raises(ValueError, match=r"fox was learned on tiny, and base\.model in params\.yaml has other weights"):
        write_pipeline("fox", embedding, tags | {"base_weights_sha256": "0"}, concept.adapter, Path("new"), settings)


@pytest.mark.parametrize(
    ("name", "style", "message"),
    [
        ("perfusion", "comfyui", "fox has gated changes, which no other tool reads"),
        ("dreambooth", "diffusers", "fox has the difference of a whole denoiser, for which diffusers has no layout; export it as --format pipeline"),
        ("extended", "diffusers", "fox has vectors of its own for each of 4 cross-attention layers, which diffusers has no layout for"),
        ("extended", "kohya", "kohya's scripts read the 16 of Stable Diffusion 1 and 2"),
    ],
)
def test_a_format_without_a_layout_is_refused(base: BaseModel, tmp_path: Path, name: str, style: str, message: str) -> None:
    learned = make(base, name).trainable.learned
    if name == "perfusion":
        learned = Learned("<fox>", learned.rows, {"layer": Gated(*torch.zeros(3, 4), torch.ones(2))})
    path = tmp_path / "learned_embeds.safetensors"
    path.write_bytes(embedding_file("fox", learned.rows, RECORD, base.parts, "stable-diffusion-v1"))
    with pytest.raises(ValueError, match=message):
        check_layouts("fox", read_word(path), learned.adapter, style)


def test_kohyas_xti_goes_out_and_comes_back(catalog: Path) -> None:
    rows = torch.randn(2, len(XTI) * WIDTH)
    word = read_word(own_file(Path("word.safetensors"), rows))
    assert word.layers == len(XTI)
    Path("xti.safetensors").write_bytes(FORMATS["kohya"](word, "xti")["xti.safetensors"])
    tensors = load_file("xti.safetensors")
    assert sorted(tensors) == sorted(XTI) and all(tensor.shape == (2, WIDTH) for tensor in tensors.values())
    assert torch.equal(tensors["MID"], rows[:, 6 * WIDTH : 7 * WIDTH])
    again = read_word(Path("xti.safetensors"))
    assert (again.layers, again.token) == (len(XTI), None)
    assert torch.equal(again.parts[0], rows)
    code, output = command("import", "xti.safetensors", "--word", "dog", "--pictures", "photos")
    assert code == 1 and "has vectors for 16 cross-attention layers, data/base/tiny has 4; it is another model's word" in " ".join(output.split())


def test_an_export_has_no_pictures_but_those_of_its_version(catalog: Path, caplog: pytest.LogCaptureFixture) -> None:
    word = read_word(Path(write_word({"<mug>": random_rows(1)})))
    draw_picture(artifacts.curated("mug") / "0.png", 0)
    digest = artifacts.folder_digest(artifacts.curated("mug"), "*.png")
    for name, tags, expected in (
        ("present", {"pictures_sha256": digest}, ["0.png"]),
        ("imported", {"pictures_sha256": "d" * 64, "imported_digest": "of its file"}, ["0.png"]),
        ("older", {"pictures_sha256": "d" * 64}, []),
    ):
        folder = write_folder(word, "mug", "sd-concepts-library", Path(name), {}, tags)
        assert [path.name for path in folder.glob("*/*.png")] == expected
    (message,) = [one for one in caplog.messages if "learned" in one]
    assert message.endswith("mug was learned from other pictures than those in data/curated/mug, so none are in the export")


@pytest.mark.slow
def test_where_an_export_goes(built: Path) -> None:
    assert command("export", "mug", "--format", "comfyui")[1].strip() == "exported/comfyui/mug.safetensors"
    assert command("export", "mug", "--format", "a1111", "--out", "webui/my-mug.pt")[1].strip() == "webui/my-mug.pt"
    assert set(load_file("exported/comfyui/mug.safetensors")) == {"emb_params"}
    assert command("export", "mug", "--format", "sd-concepts-library")[1].strip() == "exported/sd-concepts-library/mug"
    for arguments, message in (
        (("mug", "--format", "a1111", "--out", "mug.safetensors"), "a1111 keeps this word in a .pt file; call it mug.pt"),
        (("mug", "--format", "sd-concepts-library", "--out", "photos"), "photos exists already"),
        (("mug", "--format", "onnx"), "format 'onnx' is unknown; choose one of diffusers, a1111, kohya, comfyui, sd-concepts-library, pipeline"),
        (("mug@v9", "--format", "kohya"), "concept 'mug' has no v9 in wordmint's registry"),
        (("mug@challenger", "--format", "kohya"), "concept 'mug' has no challenger in wordmint's registry"),
        (("cup", "--format", "kohya"), "concept 'cup' has no champion in wordmint's registry"),
    ):
        code, output = command("export", *arguments)
        assert code == 1 and message in output
    assert sorted(path.name for path in Path("photos").iterdir()) == ["0.png", "1.png", "2.png"]
