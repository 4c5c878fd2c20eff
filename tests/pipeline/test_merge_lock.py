"""dvc.lock merges by stages; each entry is one that a side recorded."""

from typing import Any

import pytest
import yaml

from tasks.pipeline.merge_lock import merge_lock

Entries = dict[str, Any]


def entry(stage: str, setting: int, result: str, **deps: str) -> dict[str, Any]:
    """A stage that ran on a setting and on what is found at paths, and wrote a result."""
    return {
        "cmd": f"python -m tasks.{stage}",
        "deps": [{"path": path, "hash": "md5", "md5": md5} for path, md5 in deps.items()],
        "params": {"params.yaml": {stage: {"steps": setting}}},
        "outs": [{"path": stage, "hash": "md5", "md5": result}],
    }


def written(entries: Entries) -> str:
    return yaml.dump({"schema": "2.0", "stages": entries}, Dumper=yaml.CSafeDumper, sort_keys=False)


def merged(base: Entries, ours: Entries, theirs: Entries) -> Entries:
    text = merge_lock(*map(written, (base, ours, theirs)))
    assert text == written(yaml.safe_load(text)["stages"])
    return yaml.safe_load(text)["stages"]


BASE = {"invert@fox": entry("invert", 1, "word", pictures="p"), "sample@fox": entry("sample", 1, "drawn", invert="word")}


def test_stages_of_one_side_are_kept_in_their_order() -> None:
    mug, pan = {"invert@mug": entry("invert", 1, "mug")}, {"invert@pan": entry("invert", 1, "pan")}
    newer = entry("sample", 2, "drawn again", invert="word")
    found = merged(BASE, BASE | mug, BASE | {"sample@fox": newer} | pan)
    assert found == BASE | {"sample@fox": newer} | mug | pan
    assert list(found) == ["invert@fox", "sample@fox", "invert@mug", "invert@pan"]
    assert merged({}, mug, pan) == mug | pan
    assert merged(BASE, BASE, {}) == {} == merged(BASE, {}, BASE)
    assert merge_lock("", written(mug), written(pan)) == written(mug | pan)


def test_the_same_run_on_two_machines_is_one_sides_results_throughout() -> None:
    ours, theirs = (
        {"invert@fox": entry("invert", 2, f"word {side}", pictures="p"), "sample@fox": entry("sample", 1, f"drawn {side}", invert=f"word {side}")}
        for side in ("a", "b")
    )
    assert merged(BASE, ours, theirs) == ours
    assert merged({}, ours, theirs) == ours


def test_the_entry_that_fits_the_merged_inputs() -> None:
    """They changed both inputs of a stage, we changed one of them to the same."""
    ours = {"invert@fox": entry("invert", 2, "word a", pictures="p")}
    theirs = {"invert@fox": entry("invert", 2, "word b", pictures="q"), "sample@fox": entry("sample", 1, "drawn b", invert="word b")}
    ours["sample@fox"] = entry("sample", 1, "drawn a", invert="word a")
    assert merged(BASE, ours, theirs) == merged(BASE, theirs, ours) == theirs


def test_ours_where_nobody_built_the_merged_inputs() -> None:
    """We changed a setting of the word and they its pictures; then only they drew it."""
    ours = {"invert@fox": entry("invert", 2, "word a", pictures="p"), "sample@fox": entry("sample", 1, "drawn a", invert="word a")}
    theirs = {"invert@fox": entry("invert", 1, "word b", pictures="q"), "sample@fox": entry("sample", 1, "drawn b", invert="word b")}
    assert merged(BASE, ours, theirs) == ours and merged(BASE, theirs, ours) == theirs
    undrawn = {**BASE, "invert@fox": ours["invert@fox"]}
    assert merged(BASE, undrawn, theirs) == {"invert@fox": ours["invert@fox"], "sample@fox": theirs["sample@fox"]}


def test_ours_where_a_setting_is_in_conflict() -> None:
    ours, theirs = ({"invert@fox": entry("invert", setting, f"word {setting}", pictures="p")} for setting in (2, 3))
    assert merged(BASE, BASE | ours, BASE | theirs) == BASE | ours


def test_an_entry_that_one_side_dropped_and_the_other_recorded_anew() -> None:
    newer = {"sample@fox": entry("sample", 2, "drawn again", invert="word")}
    without = {"invert@fox": BASE["invert@fox"]}
    assert merged(BASE, without, BASE | newer) == merged(BASE, BASE | newer, without) == BASE | newer


@pytest.mark.parametrize("text", ["<<<<<<< ours\n", "schema: '2.0'\nstages:\n  a:\n    cmd: a\ndatasets: []\n"])
def test_what_is_no_lock_file_of_stages_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="their version is not laid out"):
        merge_lock(written(BASE), written(BASE), text)
