"""params.yaml merges key by key, with its comments, and a conflict is as small as a setting."""

from pathlib import Path

import pytest
import yaml
from ruamel.yaml import YAML

from tasks.pipeline.merge_params import conflicts_in, merge_params, taken
from tasks.using.add import params_with

ROOT = Path(__file__).parents[2]
BASE = """# The settings of a catalog.

sample:                # how pictures are made
  steps: 50
  seed: 0              # of the first picture
  prompts:
    - a photo of a {}
    - a painting of a {}

concepts:              # all words
  fox:
    kind: object
    word: dog          # the nearest
  # the oldest one
  owl:
    kind: object
    word: bird

runtime:               # where it runs
  device: auto
"""
MUG = "  mug:                 # of the kitchen\n    kind: object\n    word: cup\n"
PAN = "  # bought in May\n  pan:\n    kind: object\n    word: iron\n"


def add(block: str, text: str = BASE) -> str:
    return text.replace("\nruntime:", f"{block}\nruntime:")


def merged(ours: str, theirs: str, base: str = BASE) -> str:
    text, conflicts = merge_params(base, ours, theirs)
    assert conflicts == []
    return text


def test_two_concepts_stand_one_after_the_other_with_their_comments() -> None:
    assert merged(add(MUG), add(PAN)) == add(MUG + PAN)
    assert merged(add(PAN), add(MUG)) == add(PAN + MUG)


def test_the_first_concepts_of_a_catalog() -> None:
    empty = "concepts: {}\nruntime:\n  device: auto\n"
    ours, theirs = (empty.replace(" {}\n", f"\n{block}") for block in (MUG, PAN))
    assert merged(ours, theirs, empty) == empty.replace(" {}\n", f"\n{MUG}{PAN}")
    assert merged(ours, empty, empty) == merged(empty, ours, empty) == ours


def test_settings_and_concepts_that_one_side_changed() -> None:
    ours = BASE.replace("steps: 50", "steps: 25").replace("auto", "cpu").replace("  fox:", "  # a comment of ours\n  fox:")
    theirs = add(MUG, BASE.replace("seed: 0 ", "seed: 7 ").replace("word: dog ", "word: cat ").replace("# all words", "# words"))
    both = add(MUG, ours.replace("seed: 0 ", "seed: 7 ").replace("word: dog ", "word: cat ").replace("# all words", "# words"))
    assert merged(ours, theirs) == merged(theirs, ours) == both


def test_a_concept_that_one_side_removed_or_put_between_two_others() -> None:
    fox = BASE[BASE.index("  fox:") : BASE.index("  # the oldest")]
    theirs = BASE.replace("  # the oldest", f"{PAN}  # the oldest")
    assert merged(BASE.replace(fox, ""), theirs) == theirs.replace(fox, "")
    assert merged(add(MUG), theirs) == add(MUG, theirs)


def test_the_same_concept_twice_is_one() -> None:
    assert merged(add(MUG), add(MUG)) == add(MUG)


def test_what_a_command_lays_out_anew_is_no_change(tmp_path: Path) -> None:
    shipped, written = (ROOT / "params.yaml").read_text(encoding="utf-8"), {}
    for name in ("mug", "pan"):
        path = tmp_path / name
        path.write_text(shipped, encoding="utf-8")
        path.write_bytes(params_with(name, {"kind": "object", "placeholder_token": f"<{name}>", "initializer_token": "cup"}, path))
        if name == "mug":  # as an earlier `wordmint add` laid lists out
            editor = YAML()
            editor.preserve_quotes, editor.width = True, 200
            editor.representer.add_representer(type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null"))
            editor.dump(editor.load(path), path)
        written[name] = path.read_text(encoding="utf-8")
    changed = shipped.replace("a photo of a {} on the beach", "a photo of a {} on a beach").replace("min_side: 48", "min_side: 64")
    assert "\n    - a photo of a {}\n" in written["mug"] and "\n      - a photo of a {}\n" in shipped
    assert set(shipped.splitlines()) <= set(written["pan"].splitlines()), "a new concept changes no other line"
    text = merged(written["mug"], written["pan"], shipped)
    assert list(yaml.safe_load(text)["concepts"])[-2:] == ["mug", "pan"]
    settings = yaml.safe_load(merged(changed, written["mug"], shipped))
    assert settings["curate"]["min_side"] == 64 and "a photo of a {} on a beach" in settings["sample"]["prompts"]["object"]
    comments = [line.partition("#")[2] for line in shipped.splitlines() if "#" in line]
    assert [line.partition("#")[2] for line in text.splitlines() if "#" in line] == comments


def test_a_space_within_a_text_is_a_change() -> None:
    changed = BASE.replace("a photo of", "a photo  of").replace("- a photo  of a {}", "- 'a photo  of a {}'")
    plain = changed.replace("photo  of", "photo of")
    assert merged(plain, changed, plain) == merged(changed, plain, plain) == changed


def test_a_setting_that_both_changed_is_marked_alone_and_each_side_can_be_taken() -> None:
    ours = add(MUG, BASE.replace("word: dog ", "word: cat ").replace("seed: 0 ", "seed: 1 "))
    theirs = add(PAN, BASE.replace("word: dog ", "word: bear ").replace("seed: 0 ", "seed: 2 "))
    text, conflicts = merge_params(BASE, ours, theirs)
    assert conflicts == conflicts_in(text) == ["sample.seed", "concepts.fox.word"]
    mark = "<<<<<<< ours: concepts.fox.word\n    word: cat          # the nearest\n=======\n    word: bear          # the nearest\n>>>>>>> theirs: "
    assert mark in text
    with pytest.raises(yaml.YAMLError):
        yaml.safe_load(text)
    assert taken(text, "ours") == add(MUG + PAN, ours.replace(MUG, ""))
    assert taken(text, "theirs") == add(MUG + PAN, theirs.replace(PAN, ""))
    one = taken(text, "theirs", "concepts.fox")
    assert conflicts_in(one) == ["sample.seed"] and "word: bear" in one
    assert taken(text, "theirs", "concepts.f") == text


@pytest.mark.parametrize("removed", ["ours", "theirs"])
def test_a_concept_that_one_side_removed_and_the_other_changed(removed: str) -> None:
    fox = BASE[BASE.index("  fox:") : BASE.index("  # the oldest")]
    without, changed = BASE.replace(fox, ""), BASE.replace("word: dog ", "word: cat ")
    text, conflicts = merge_params(BASE, *((without, changed) if removed == "ours" else (changed, without)))
    assert conflicts == ["concepts.fox"]
    assert taken(text, removed) == without and taken(text, "theirs" if removed == "ours" else "ours") == changed


def test_the_last_concept_that_one_side_removed_and_the_other_changed() -> None:
    base = "concepts:\n  mug:\n    word: cup\nruntime:\n  device: auto\n"
    emptied, changed = "concepts: {}\nruntime:\n  device: auto\n", base.replace("cup", "jug")
    text, conflicts = merge_params(base, changed, emptied)
    assert conflicts == ["concepts"]
    assert taken(text, "ours") == changed and taken(text, "theirs") == emptied
    assert merged(emptied, base, base) == merged(base, emptied, base) == emptied


def test_a_concept_that_both_added_with_other_settings() -> None:
    text, conflicts = merge_params(BASE, add(MUG), add(MUG.replace("word: cup", "word: jug")))
    assert conflicts == ["concepts.mug.word"]
    assert taken(text, "ours") == add(MUG)


def test_a_list_is_one_setting() -> None:
    ours = BASE.replace("    - a painting", "    - a drawing of a {}\n    - a painting")
    assert merged(ours, BASE.replace("seed: 0 ", "seed: 7 ")) == ours.replace("seed: 0 ", "seed: 7 ")
    assert merge_params(BASE, ours, BASE.replace("a photo of a {}", "a picture of a {}"))[1] == ["sample.prompts"]


def test_marks_in_the_common_version_of_several_are_no_obstacle() -> None:
    base, _ = merge_params(BASE, BASE.replace("seed: 0 ", "seed: 1 "), BASE.replace("seed: 0 ", "seed: 2 "), 9)
    assert "<<<<<<<<< ours: sample.seed\n" in base
    settled = BASE.replace("seed: 0 ", "seed: 2 ")
    assert merged(add(MUG, settled), add(PAN, settled), base) == add(MUG + PAN, settled)


def test_a_last_line_without_an_end_is_a_line() -> None:
    ours, theirs = BASE.rstrip("\n"), BASE + "  retries: 2\n"
    assert merged(ours.replace("seed: 0 ", "seed: 7 "), theirs) == theirs.replace("seed: 0 ", "seed: 7 ")


@pytest.mark.parametrize(
    ("theirs", "reason"),
    [
        (BASE.replace("  steps: 50", " steps: 50"), "their version is not valid YAML"),
        (BASE.replace("  owl:", "  fox:"), "'fox' stands twice"),
        ("{sample: {seed: 1}}\n", "their version has no line for each key"),
        ("- a\n", "their version has no line for each key"),
        (add(MUG).replace("  ", "    "), "the two versions' lines cannot be combined"),
        (add(MUG).replace("  ", " "), "the merged version is not valid YAML"),
    ],
)
def test_what_cannot_be_merged_by_keys_is_refused(theirs: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        merge_params(BASE, add(PAN), theirs)
