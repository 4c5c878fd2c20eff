"""What a word is compared with: prompts without it, and what a person would say."""

import json
from pathlib import Path

import pytest
import yaml
from transformers import AutoTokenizer

from tasks.concepts.captions import MOST_WORDS, read_captions, read_contexts
from tasks.settings import load_settings
from tests.support.catalogs import captioned

ROOT = Path(__file__).parents[2]
SHIPPED = load_settings(ROOT / "params.yaml")


def test_captions_are_what_a_person_wrote_on_one_line(tmp_path: Path) -> None:
    assert read_captions(tmp_path) == {}
    assert captioned(tmp_path, "short: a red fox\nlong: >\n  a red fox\n  with  a white tail\n") == {
        "short": "a red fox",
        "long": "a red fox with a white tail",
    }
    assert captioned(tmp_path, "long: a red fox") == {"long": "a red fox"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"short: {'word ' * 13}", "the short caption has 13 words; give it 1 to 12"),
        (f"long: {'word ' * 31}", "the long caption has 31 words; give it 1 to 30"),
        ("short: ''", "has 0 words"),
        ("short: 3", "three entries at most"),
        ("tiny: a fox", "three entries at most"),
        ("- a fox", "three entries at most"),
        ("", "three entries at most"),
        ("short: [", "not valid YAML"),
    ],
)
def test_other_captions_are_refused_by_their_file(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        captioned(tmp_path, text)
    assert str(tmp_path / "captions.yaml") in str(refused.value)
    assert "\n" not in str(refused.value)


def test_contexts_are_of_the_sets_pictures(tmp_path: Path) -> None:
    assert captioned(tmp_path, "short: a fox\ncontext: {2.png: on  the grass}") == {"short": "a fox"}
    assert read_contexts(tmp_path, ["1.png", "2.png"]) == {"2.png": "on the grass"}
    assert read_contexts(tmp_path / "none", ["1.png"]) == {}


@pytest.mark.parametrize(
    ("context", "said"),
    [
        ("{3.png: on the grass}", "context names 3.png, which is no picture of the set; name one of 1.png"),
        ("{1.png: 'a {} on the grass'}", "leave the braces and the word out"),
        (f"{{1.png: {'word ' * 13}}}", "the context of 1.png has 13 words; give it 1 to 12"),
        ("{1.png: ''}", "has 0 words"),
        ("[on the grass]", "three entries at most"),
        ("{1.png: 3}", "three entries at most"),
    ],
)
def test_other_contexts_are_refused_by_their_file(tmp_path: Path, context: str, said: str) -> None:
    captioned(tmp_path, "short: a fox")
    (tmp_path / "captions.yaml").write_text(f"context: {context}", encoding="utf-8")
    with pytest.raises(ValueError, match=said) as refused:
        read_contexts(tmp_path, ["1.png"])
    assert str(tmp_path / "captions.yaml") in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("concept", SHIPPED.concepts)
def test_shipped_captions_leave_the_embedded_model_room_for_the_edit(concept: str, tmp_path: Path) -> None:
    pointer = yaml.safe_load((ROOT / f"data/images/{concept}.dvc").read_text(encoding="utf-8"))["outs"][0]["md5"]
    stored = {entry["relpath"]: entry["md5"] for entry in json.loads(remote(pointer).read_text(encoding="utf-8"))}
    captions = captioned(tmp_path, remote(stored["captions.yaml"]).read_text(encoding="utf-8"))
    assert captions.keys() == MOST_WORDS.keys()
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "data/base/emoji-ldm/tokenizer")
    for prompt in SHIPPED.prompts(concept):
        for text in captions.values():
            assert len(tokenizer(prompt.format(text)).input_ids) <= tokenizer.model_max_length, prompt.format(text)


def remote(md5: str) -> Path:
    """The file of the shipped DVC remote that has this hash."""
    return ROOT / "data/remote/files/md5" / md5[:2] / md5[2:]
