"""A YAML file means to wordmint what it means to DVC."""

from pathlib import Path

import pytest
import yaml
from dvc.utils.serialize import loads_yaml

from tasks.documents import DeepLoader, Dumper, Loader, as_yaml, read_yaml, read_yaml_once

TEXTS = """1e-05 1.5e-7 1e3 1E+3 -1e3 .5 .5e+3 .5e3 1. -.inf .nan 0 -7 +7 010 08 0o17 0x1F 0b11 1_0 12:30 1:30.5 on off yes no y n true True FALSE
null ~ = 2024-01-01 ee e5 1e 0123e45 fox <fox>"""
PLAIN = TEXTS.split()


@pytest.mark.parametrize("loader", [Loader, DeepLoader])
def test_a_text_without_quotes_means_what_it_means_to_dvc(loader: type[yaml.SafeLoader]) -> None:
    document = "".join(f"key{number}: {text}\n" for number, text in enumerate(PLAIN) if text != "=")
    assert repr(yaml.load(document, loader)) == repr(loads_yaml(document))


@pytest.mark.parametrize("values", [PLAIN, [1e-05, 1e300, 0.1, -1.5e-7, float("inf"), 1, True, None, "text"]])
def test_what_is_written_is_read_as_it_was_by_dvc_and_here(values: list) -> None:
    text = yaml.dump({"values": values}, Dumper=Dumper)
    assert yaml.load(text, Loader)["values"] == loads_yaml(text)["values"] == yaml.safe_load(text)["values"] == values


@pytest.mark.parametrize("loader", [Loader, DeepLoader])
@pytest.mark.parametrize(("text", "line"), [("a: 1\nb: 2\na: 3\n", 3), ("b: {a: 1}\nc: {a: 1, b: 2, 'a': 3}\n", 2)])
def test_a_key_that_stands_twice_is_refused_as_by_dvc(text: str, line: int, loader: type[yaml.SafeLoader]) -> None:
    with pytest.raises(yaml.YAMLError, match=f"'a' stands twice; delete the second(?s:.*)line {line}"):
        yaml.load(text, loader)
    with pytest.raises(Exception, match="found duplicate key"):
        loads_yaml(text)


def test_a_value_that_comes_from_another_mapping_may_be_replaced() -> None:
    text = "x: &x {a: 1, b: 1}\ny:\n  <<: *x\n  a: 2\n"
    assert yaml.load(text, Loader) == loads_yaml(text) == {"x": {"a": 1, "b": 1}, "y": {"a": 2, "b": 1}}


@pytest.mark.parametrize("loader", [Loader, DeepLoader])
def test_a_mapping_may_be_merged_that_replaces_what_it_merges(loader: type[yaml.SafeLoader]) -> None:
    text = "x: &x {k: 0, b: 1}\na:\n  b: &y\n    <<: *x\n    k: 1\nz:\n  <<: *y\n"
    assert yaml.load(text, loader)["z"] == loads_yaml(text)["z"] == {"k": 1, "b": 1}


@pytest.mark.parametrize("text", ["0815", "08", "1e5", "5e123", "0o17", "-.5", "1e-05", "no", "on", "12:30", "über " * 60, "a\nb", ""])
def test_a_text_that_looks_like_something_else_stays_a_text(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mug.yaml"
    path.write_text(as_yaml({"source": text, "context": {text: text}}), encoding="utf-8")
    assert read_yaml(path) == {"source": text, "context": {text: text}} == loads_yaml(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("text", ["<<<<<<< ours\nouts:\n", "outs:\n<<<<<<< ours\n- md5: 1\n=======\n- md5: 2\n>>>>>>> theirs\n"])
def test_the_marks_of_a_conflict_are_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "fox.dvc"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"fox\.dvc has the marks of a conflict in Git; settle it, for example with `wordmint take`"):
        read_yaml(path)


def test_a_file_is_read_anew_when_its_bytes_are_others(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("a: 1\n")
    first = read_yaml_once(path)
    assert read_yaml_once(path) is first and read_yaml(path) is not first
    path.write_text("a: 2\n")
    assert read_yaml_once(path) == {"a": 2}
