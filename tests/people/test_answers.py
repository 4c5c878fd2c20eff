"""What raters send back: every file is checked, kept once and tracked."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tasks import artifacts
from tasks.people.answers import keep, read_answers
from tasks.people.questionnaire import write_questionnaire
from tasks.pipeline import repository, sending
from tasks.settings import Settings
from tests.support.catalogs import dvc
from tests.support.people import answer

pytestmark = pytest.mark.slow


@pytest.fixture
def record(asked: Settings) -> dict[str, Any]:
    return artifacts.read_json(write_questionnaire([], asked, 2, 1, 0, None).record)


def kept_files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in artifacts.answers("fox").glob("*")}


def test_answers_are_kept_once_and_tracked_by_dvc(record: dict[str, Any]) -> None:
    first, second = answer(record, "k7m"), answer(record, "x2q")
    assert keep([first]) == (["fox"], 1)
    tracked = artifacts.pointer(artifacts.answers("fox")).read_text()
    assert keep([first, first]) == (["fox"], 0)
    assert artifacts.pointer(artifacts.answers("fox")).read_text() == tracked
    assert keep([first, second]) == (["fox"], 1)
    files = kept_files()
    assert len(files) == 2 and all(name.startswith(f"{record['id']}-") for name in files)
    assert not [name for name in files if "k7m" in name]
    shutil.rmtree(artifacts.answers("fox"))
    dvc("checkout", str(artifacts.pointer(artifacts.answers("fox"))))
    assert kept_files() == files


def test_answers_that_dvc_has_elsewhere_are_not_forgotten(record: dict[str, Any]) -> None:
    """On a clone that did not pull: from DVC's cache they come back, and where they cannot, nothing is written."""
    keep([answer(record, "k7m")])
    shutil.rmtree(artifacts.answers("fox"))
    keep([answer(record, "x2q")])
    assert len(kept_files()) == 2
    older = sorted(artifacts.answers("fox").glob("*"))[0]
    older.unlink()
    with pytest.raises(ValueError, match=r"lacks .*json, which data/answers/fox.dvc names; run `wordmint pull` first"):
        keep([answer(record, "third")])
    assert len(kept_files()) == 1


def test_another_answer_of_the_same_code_has_to_be_meant(record: dict[str, Any]) -> None:
    keep([answer(record, "k7m")])
    changed = json.loads(answer(record, "k7m").read_text())
    changed["answers"][0].reverse()
    Path("again.json").write_text(json.dumps(changed))
    before = kept_files()
    with pytest.raises(ValueError, match="differs from what code 'k7m' answered to the same questionnaire before; --replace"):
        keep([Path("again.json")])
    assert kept_files() == before
    assert keep([Path("again.json")], replace=True) == (["fox"], 1)
    assert len(kept_files()) == 1 and kept_files() != before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"questionnaire": "0" * 16}, "data/questionnaires/0000000000000000.json is not here"),
        ({"questionnaire": "../../etc"}, "is not a file that a questionnaire saved: questionnaire: "),
        ({"code": ""}, "is not a file that a questionnaire saved: code: "),
        ({"code": "a\x1b[31m"}, "is not a file that a questionnaire saved: code: "),
        ({"code": 7}, "is not a file that a questionnaire saved: code: "),
        ({"name": "Ann"}, "is not a file that a questionnaire saved: name: "),
        ({"answers": []}, "has 0 answers, its questionnaire has 6 items"),
        ({"answers": [[0, 1, 2, 2]] * 6}, r"has \[0, 1, 2, 2\] for item 1, which is no order of its 4 pictures"),
        ({"answers": [[0, 1, 2, 4]] * 6}, "for item 1, which is no order of its 4 pictures"),
        ({"answers": [[0, 1, 2]] * 6}, "for item 1, which is no order of its 4 pictures"),
        ({"answers": [[0, 1, 2, 3]] * 5 + [[]]}, r"has \[\] for item 6"),
        ({"answers": [["0", 1, 2, 3]] * 6}, "is not a file that a questionnaire saved: answers.0.0: "),
    ],
)
def test_a_tampered_or_foreign_file_is_one_error(record: dict[str, Any], change: dict[str, Any], message: str) -> None:
    path, good = Path("tampered.json"), answer(record, "k7m")
    path.write_text(json.dumps(json.loads(good.read_text()) | change))
    with pytest.raises(ValueError, match=message) as raised:
        keep([good, path])
    assert "tampered.json" in str(raised.value) and "\n" not in str(raised.value)
    assert not artifacts.answers("fox").exists()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b"<html>", b"1"])
def test_a_file_that_is_no_answer_is_one_error(record: dict[str, Any], content: bytes) -> None:
    Path("other.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"other\.json is not a file that a questionnaire saved") as raised:
        read_answers(Path("other.json"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("change", [lambda text: text.replace('"seed": 0', '"seed": 1'), lambda text: text.replace('"v1"', '"v9"'), lambda text: ""])
def test_a_changed_record_is_one_error(record: dict[str, Any], change: Any) -> None:
    path, place = answer(record, "k7m"), artifacts.questionnaire(record["id"])
    place.write_text(change(place.read_text()))
    with pytest.raises(ValueError, match=rf"{place} was changed after it was written; restore it"):
        read_answers(path)


def test_push_sends_answers(record: dict[str, Any], tmp_path: Path) -> None:
    keep([answer(record, "k7m")])
    remote = tmp_path.with_name(f"{tmp_path.name}-remote")
    dvc("remote", "add", "--default", "team", str(remote))
    with repository.open_repo() as repo:
        sending.send(repo)
    files = kept_files()
    shutil.rmtree(artifacts.answers("fox"))
    shutil.rmtree(".dvc/cache")
    keep([answer(record, "x2q")])
    assert files.items() < kept_files().items()


def test_the_answers_of_two_clones_come_together(record: dict[str, Any], tmp_path: Path) -> None:
    """As docs/people.md says: take the other side's pointer, pull, and give the own file again."""
    dvc("remote", "add", "--default", "team", str(tmp_path.with_name(f"{tmp_path.name}-remote")))
    pointer = artifacts.pointer(artifacts.answers("fox"))
    keep([answer(record, "theirs")])
    with repository.open_repo() as repo:
        sending.send(repo)
    theirs = pointer.read_text()
    shutil.rmtree(artifacts.answers("fox"))
    pointer.unlink()
    keep([answer(record, "ours")])
    pointer.write_text(theirs)
    with pytest.raises(ValueError, match="run `wordmint pull` first"):
        keep([answer(record, "ours")])
    dvc("pull", str(pointer))
    assert keep([answer(record, "ours")]) == (["fox"], 1)
    assert len(kept_files()) == 2
