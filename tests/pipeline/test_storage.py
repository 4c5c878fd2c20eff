"""What comes out of DVC's cache is what was recorded."""

import json
from pathlib import Path

import pytest

from tasks.pipeline import repository, storage


def test_a_damaged_list_of_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    repository.new_repo(tmp_path)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "1.png").write_bytes(b"a picture")
    with repository.open_repo() as repo:
        repo.add("pictures")
        md5 = storage.recorded_md5(Path("pictures"))
        assert md5 is not None
        assert list(storage.recorded_files(repo, md5)) == ["1.png"]
        place = storage.cached(repo, md5)
        listed = json.loads(place.read_bytes())
        place.chmod(0o644)
        place.write_text(json.dumps([*listed, {**listed[0], "relpath": "2.png"}]))
        with pytest.raises(ValueError, match=r"is damaged: its md5 is not .*; delete it"):
            storage.recorded_files(repo, md5)
