"""Properties of everything that takes a stranger's text or file: it is accepted, or a ValueError of one line says why; nothing else, and no wait.

The ordinary run tries some 60 examples of each; `WORDMINT_EXAMPLES=2000 python -m pytest tests/test_hostile.py` tries 2,000.
"""

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from tasks import artifacts
from tasks.concepts.captions import read_captions, read_contexts
from tasks.concepts.rights import read_rights
from tasks.pictures.names import output_names, picture_files, printable
from tasks.pictures.reading import UnusableError, check_file, read_picture
from tasks.settings import Settings, load_settings
from tasks.using.champions import words_in
from tasks.using.exchange import key_of
from tasks.using.orders import folder_of
from tasks.words.formats import read_word
from tests.support.bad_pictures import bytes_of
from tests.support.bad_words import bad_words

ROOT = Path(__file__).parents[1]
SHIPPED: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
PICTURES = dict(bytes_of())
WORDS = dict(bad_words())
settings.register_profile(
    "hostile",
    max_examples=int(os.environ.get("WORDMINT_EXAMPLES", "60")),
    deadline=None,
    derandomize="WORDMINT_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),  # a fixture's folder is used again by every example, on purpose
)
PROFILE = settings.get_profile("hostile")

odd = st.sampled_from(["5e-3", "<fox>", "{}", "a {}", float("inf"), 2**70])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | odd
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | scalars, inner, max_size=4), max_leaves=4)


def outcome(call: Callable[[], Any]) -> Any:
    """Return what a call returns, or None where it raises a ValueError of one line; any other error fails the test."""
    try:
        return call()
    except ValueError as error:
        assert str(error) and len(str(error).splitlines()) == 1
        return None


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of everything in a document."""
    items = document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    return [path, *(place for key, value in items for place in places(value, (*path, key)))][0 if path else 1 :]


def written(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.dump(value, Dumper=yaml.CSafeDumper), encoding="utf-8")


@PROFILE
@given(st.lists(st.tuples(st.sampled_from(places(SHIPPED)), values), min_size=1, max_size=3))
def test_params_with_anything_anywhere(tmp_path: Path, edits: list[tuple[tuple[Any, ...], Any]]) -> None:
    document = copy.deepcopy(SHIPPED)
    for (*parents, last), value in edits:
        section = document
        for parent in parents:
            section = section[parent] if isinstance(section, dict) and parent in section else {}
        if isinstance(section, dict):
            section[last] = value
    written(tmp_path / "params.yaml", document)
    loaded = outcome(lambda: load_settings(tmp_path / "params.yaml"))
    assert loaded is None or isinstance(loaded, Settings)


@PROFILE
@given(st.binary(max_size=300) | st.text(alphabet="[]{}:,-?!&*|>'\"\n #%@`a1.~", max_size=60).map(str.encode))
def test_params_of_any_bytes(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "params.yaml").write_bytes(data)
    assert outcome(lambda: load_settings(tmp_path / "params.yaml")) is None


@PROFILE
@given(st.text(max_size=70) | st.from_regex(artifacts.CONCEPT_KEY))
def test_a_key_is_a_plain_name_or_refused(key: str) -> None:
    if outcome(lambda: artifacts.check_concept_key(key)):
        assert artifacts.images(key).parent == Path("data/images") and key.isascii() and key.isprintable() and not set(key) & set(" /.$;'&|<>")
    made = key_of(key)
    assert made == "" or outcome(lambda: artifacts.check_concept_key(made)) == made


@PROFILE
@given(
    st.text()
    | st.text(min_size=1, max_size=20).map(lambda text: text * 1_000)
    | st.text(alphabet="\U00012000\u202e\x1b/..<fox>{}$%&'\"\\ \n", min_size=1, max_size=400)
)
def test_a_prompt_names_a_folder_inside_its_own(tmp_path: Path, prompt: str) -> None:
    outcome(lambda: artifacts.check_prompt(prompt))
    outcome(lambda: artifacts.check_suite((prompt, "a {}")))
    words_in(prompt)
    folder = tmp_path / folder_of(prompt)
    folder.mkdir(exist_ok=True)
    assert folder.parent == tmp_path and folder.name.isprintable() and not set(folder.name) & set(" /.$%&'\"\\<>{}")


@PROFILE
@given(values | st.fixed_dictionaries({}, optional={"short": values, "long": values, "context": st.dictionaries(st.text(), values)}))
def test_captions_of_anything(tmp_path: Path, value: Any) -> None:
    written(tmp_path / "captions.yaml", value)
    captions = outcome(lambda: read_captions(tmp_path))
    contexts = outcome(lambda: read_contexts(tmp_path, ["1.png"]))
    assert captions is None or all(isinstance(text, str) and "\n" not in text for text in captions.values())
    assert contexts is None or set(contexts) <= {"1.png"}


@PROFILE
@given(values | st.fixed_dictionaries({}, optional={name: values for name in ("source", "licence", "consent", "undeclared")}))
def test_rights_of_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any) -> None:
    monkeypatch.chdir(tmp_path)
    written(artifacts.rights("fox"), value)
    rights = outcome(lambda: read_rights("fox"))
    assert rights is None or not rights.missing()


names = st.binary(min_size=1, max_size=40).filter(lambda name: not set(name) & {0, ord("/")} and name not in (b".", b".."))


@PROFILE
@given(st.dictionaries(names, st.sampled_from(sorted(PICTURES)), max_size=8))
def test_a_picture_set_of_any_names_and_contents(tmp_path_factory: pytest.TempPathFactory, files: dict[bytes, str]) -> None:
    folder = tmp_path_factory.mktemp("set")
    for name, content in files.items():
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(PICTURES[content])
    found = picture_files(folder)
    assert all(name.isprintable() for name in found)
    outputs = output_names(found)
    assert len({output.lower() for output in outputs.values()}) == len(found) and all(Path(output).name == output for output in outputs.values())
    for path in found.values():
        try:
            check_file(path)
            assert read_picture(path, 16, 1, 10**6).image.size == (16, 16)
        except UnusableError as reason:
            assert str(reason).isprintable()


@PROFILE
@given(st.sampled_from(sorted(WORDS)), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4))
def test_a_word_file_with_any_bytes_changed(tmp_path: Path, name: str, changes: list[tuple[int, int]]) -> None:
    data = bytearray(WORDS[name])
    for place, value in changes:
        if place < len(data):
            data[place] = value
    (tmp_path / "word").write_bytes(data)
    word = outcome(lambda: read_word(tmp_path / "word"))
    assert word is None or all(part.isfinite().all() and part.dim() == 2 for part in word.parts)


@PROFILE
@given(st.text(), st.dictionaries(st.text(), st.text(), max_size=4) | st.fixed_dictionaries({"layers": st.text()}))
def test_a_word_of_any_name_and_metadata(tmp_path: Path, name: str, metadata: dict[str, str]) -> None:
    (tmp_path / "word").write_bytes(save({name: torch.ones(1, 32)}, metadata))
    word = outcome(lambda: read_word(tmp_path / "word"))
    assert word is None or (word.layers >= 1 and isinstance(word.settings, dict) and key_of(word.token or "") == key_of(word.token or "").lower())


@PROFILE
@given(st.text())
def test_printable_text_is_one_line_of_utf_8(text: str) -> None:
    assert printable(text).isprintable() and printable(text).encode().decode() == printable(text)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["pictures", "words"])
def test_half_a_minute_of_the_fuzzer_finds_nothing(tmp_path: Path, target: str) -> None:
    pytest.importorskip("atheris")  # it has wheels for Linux on x86-64
    command = [sys.executable, "-m", "tests.support.fuzz", target, "30"]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    assert not list(tmp_path.iterdir())  # a finding is kept as a file
