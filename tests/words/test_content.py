"""Files of strangers that claim to be words: each is a word or refused in one line, and none is run."""

import os
from pathlib import Path

import pytest

from tasks.words.content import read_content
from tasks.words.formats import read_word
from tests.support.bad_words import bad_words

WHOLE = {"huge-header", "deep-settings", "numbers.pt"}
"""What is a word after all: only its description is odd."""


def test_every_bad_word_is_refused_in_one_line_and_none_is_run(tmp_path: Path) -> None:
    trap, accepted = tmp_path / "pwned", set()
    for name, data in bad_words(str(trap)):
        path = tmp_path / f"file-{name}"
        path.write_bytes(data)
        try:
            word = read_word(path)
        except ValueError as error:
            assert str(path) in str(error) and len(str(error).splitlines()) == 1
        else:
            accepted.add(name)
            assert word.parts[0].shape == (1, 32) and word.settings == {}
    assert accepted == WHOLE
    assert not trap.exists() and all(path.name.startswith("file-") for path in tmp_path.iterdir())


def test_an_archive_that_unpacks_to_more_than_a_word_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt"
    path.write_bytes(dict(bad_words())["bomb.zip"])
    with pytest.raises(ValueError, match="unpacks to more than 32 MiB"):
        read_content(path)


def test_a_pipe_is_no_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fox.safetensors")
    with pytest.raises(ValueError, match="is not a regular file"):
        read_word(tmp_path / "fox.safetensors")
