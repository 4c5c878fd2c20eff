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


def test_a_torn_last_entry_is_left_out() -> None:
    others = dict(list(ENTRIES.items())[:2])
    for cut in range(TEXT.index("  report:"), TEXT.index("python -m tasks.report") + 5):
        assert {stage: lockfile.parsed(entry) for stage, entry in (lockfile.split(TEXT[:cut]) or {}).items()} == others, TEXT[:cut]


def test_no_file_has_no_entries(tmp_path: Path) -> None:
    assert len(lockfile.read(refuse, tmp_path / "dvc.lock")) == 0
