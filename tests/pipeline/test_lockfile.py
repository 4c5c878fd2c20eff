"""dvc.lock by its text says what a YAML parser says, and what it cannot split it leaves to DVC."""

from pathlib import Path

import pytest
import yaml

from tasks.pipeline import lockfile

ENTRIES = {
    "curate@fox": {"cmd": "python -m tasks.curate --concept fox", "deps": [{"path": "data/images/fox", "md5": "ab.dir", "nfiles": 3}]},
    "invert@fox": {"cmd": "x", "params": {"params.yaml": {"concepts.fox": {"text": "two\n\nlines: of\n  text", "star": "*", "empty": {}}}}},
    "report": {"cmd": "python -m tasks.report", "outs": []},
}
TEXT = yaml.dump({"schema": "2.0", "stages": ENTRIES}, Dumper=yaml.CSafeDumper, sort_keys=False)


def refuse() -> dict:
    raise AssertionError("the whole file was parsed")


def test_entries_are_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text(TEXT, encoding="utf-8")
    entries = lockfile.read(refuse, tmp_path / "dvc.lock")
    assert dict(entries) == ENTRIES and entries.text() == TEXT


def test_a_changed_entry_changes_its_own_lines() -> None:
    entries = lockfile.Entries(lockfile.split(TEXT) or {})
    entries["curate@fox"] = {"cmd": "another"}
    entries["curate@owl"] = {"cmd": "a new one"}
    del entries["report"]
    expected = {"curate@fox": {"cmd": "another"}, "invert@fox": ENTRIES["invert@fox"], "curate@owl": {"cmd": "a new one"}}
    assert yaml.safe_load(entries.text())["stages"] == expected == dict(entries)
    entries.clear()
    assert yaml.safe_load(entries.text())["stages"] == {} == lockfile.split(entries.text())


@pytest.mark.parametrize(
    "text",
    [
        TEXT + "datasets: []\n",
        TEXT + "# a comment\n",
        TEXT.replace("  report:", "<<<<<<< ours\n  report:"),
        TEXT.replace("cmd: x", "cmd: &shared x"),
        TEXT.replace("\n", "\r\n"),
        TEXT.replace("schema: '2.0'", "schema: '3.0'"),
        TEXT + "  report:\n    cmd: twice\n",
        "",
    ],
)
def test_another_layout_is_parsed_as_a_whole(text: str, tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text(text, encoding="utf-8", newline="")
    assert lockfile.split(text) is None
    assert dict(lockfile.read(lambda: ENTRIES, tmp_path / "dvc.lock")) == ENTRIES


DAMAGED = r"dvc\.lock is damaged or was edited; run `git restore dvc\.lock`"
OUTS = [{"path": "data/x", "md5": "ab"}, {"path": "y: z", "md5": "cd"}]


@pytest.mark.parametrize(
    "entry",
    [
        {"cmd": "x", "outs": OUTS},
        {"cmd": "x", "outs": OUTS, "frozen": True},
        {"cmd": "x", "params": {"params.yaml": {"text": "a\n    outs:\n    - path: b\n"}}, "outs": OUTS},
        {"cmd": "x", "params": {"params.yaml": {"text": "a\n    outs:\n    - path: b\n"}}},
        {"cmd": "x", "outs": []},
        {"cmd": "x"},
    ],
)
def test_the_outputs_of_a_stage_are_those_of_its_whole_entry(entry: dict) -> None:
    entries = lockfile.Entries({"x": lockfile.written("x", entry)})
    assert entries.outs("x") == entries["x"].get("outs", [])


def test_an_entry_that_was_edited_to_no_yaml_is_named_when_it_is_asked_for() -> None:
    entries = lockfile.Entries(lockfile.split(TEXT.replace("    cmd: x", "    cmd: [x", 1)) or {})
    with pytest.raises(ValueError, match=DAMAGED):
        dict(entries)
    entries = lockfile.Entries({"x": lockfile.written("x", {"cmd": "x", "outs": OUTS}).replace("md5: ab", "md5: [ab")})
    with pytest.raises(ValueError, match=DAMAGED):
        entries.outs("x")


def test_a_torn_last_entry_is_left_out() -> None:
    others = dict(list(ENTRIES.items())[:2])
    last, command = TEXT.index("  report:"), TEXT.index("python -m tasks.report")
    for cut in (*range(last, command + 5), *range(TEXT.index("outs", last), len(TEXT))):
        assert {stage: lockfile.parsed(entry) for stage, entry in (lockfile.split(TEXT[:cut]) or {}).items()} == others, TEXT[:cut]


def test_no_file_has_no_entries(tmp_path: Path) -> None:
    assert len(lockfile.read(refuse, tmp_path / "dvc.lock")) == 0
