"""Fuzz targets for what strangers send, run by hand: `python -m tests.support.fuzz pictures|words SECONDS`.

libFuzzer, through atheris, mutates the files of a corpus and keeps those that reach new code of Pillow, of PyTorch's unpickler and of ours; C code
is not watched. An exception that a person could not mend, a hang of 20 s or 4 GiB of memory ends the run with the input in the current folder.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris
from torch._weights_only_unpickler import Unpickler

with atheris.instrument_imports(include=["PIL", "tasks.pictures", "tasks.words"]):
    from PIL import Image

    Image.init()  # Pillow imports its formats late
    from tasks.pictures.reading import UnusableError, check_file, read_picture
    from tasks.words.formats import read_word

from tests.support.bad_pictures import bytes_of
from tests.support.bad_words import bad_words

Unpickler.load = atheris.instrument_func(Unpickler.load)
SCRATCH = Path(tempfile.mkdtemp())


def pictures(data: bytes) -> None:
    path = SCRATCH / "picture"
    path.write_bytes(data)
    try:
        check_file(path)
        picture = read_picture(path, 16, 1, 1_000_000)
    except UnusableError as reason:
        assert str(reason).isprintable()
    else:
        assert (picture.image.mode, picture.image.size) == ("RGB", (16, 16))


def words(data: bytes) -> None:
    path = SCRATCH / "word"
    path.write_bytes(data)
    try:
        word = read_word(path)
    except ValueError as error:
        assert "word" in str(error)
    else:
        assert word.parts and all(part.dim() == 2 and part.isfinite().all() for part in word.parts)


TARGETS: dict[str, tuple[Callable[[bytes], None], Callable]] = {"pictures": (pictures, bytes_of), "words": (words, bad_words)}


def main(name: str, seconds: str) -> None:
    target, seeds = TARGETS[name]
    corpus = SCRATCH / "corpus"
    corpus.mkdir()
    for number, (_, data) in enumerate(seeds()):
        (corpus / str(number)).write_bytes(data)
    limits = ["-timeout=20", "-rss_limit_mb=4096", "-max_len=262144", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", *limits, str(corpus)], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
