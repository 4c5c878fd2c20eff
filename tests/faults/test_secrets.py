"""What a build leaves behind names neither the person nor their secrets."""

from pathlib import Path

import pytest

from tests.support.faults.house import house
from tests.support.faults.states import make_states

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "planted-key",
    "HF_TOKEN": "planted-token",
    "MLFLOW_TRACKING_PASSWORD": "planted-password",
    "PREFECT_API_KEY": "planted-prefect",
    "SOMETHING": "planted-anything",
    "LOGNAME": "planted-user",
    "USER": "planted-user",
}


@pytest.mark.services
def test_nothing_that_is_written_has_a_planted_secret(tmp_path: Path) -> None:
    person = tmp_path / "planted-home"
    person.mkdir()
    (person / ".gitconfig").write_text("[user]\n    name = planted-name\n    email = planted-mail@example.org\n", encoding="utf-8")
    (tmp_path / "house").mkdir()
    with house(tmp_path / "house", flows=True) as place:
        make_states(place, {"new"})
        place.take("new")
        said = [place.run(*command, HOME=str(person), **SECRETS) for command in (("wordmint", "build"), ("wordmint", "push"))]
        assert [code for code, _ in said] == [0, 0]
        files = [path for folder in (place.place, place.home / "prefect") for path in folder.rglob("*") if path.is_file()]
        assert len(files) > 100
        found = {str(path.relative_to(place.home)) for path in files if b"planted-" in path.read_bytes()}
        assert found == set() and not any("planted-" in text for _, text in said)
