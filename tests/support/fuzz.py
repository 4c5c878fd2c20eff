"""Fuzz targets for what strangers send: `python -m tests.support.fuzz pictures|words SECONDS`. tests/test_hostile.py runs each for half a minute.

libFuzzer, through atheris, mutates the files of a corpus and keeps those that reach new code of Pillow, of PyTorch's unpickler and of ours; C code
is not watched. An exception that a person could not mend, a hang of 20 s or 4 GiB of memory ends the run with the input in the current folder.
"""

import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import atheris

SCRATCH = Path(tempfile.mkdtemp())
Target = Callable[[bytes], None]


def pictures() -> tuple[Target, Iterable[tuple[str, bytes]]]:
    """Return the picture reader as a target, and files to start from."""
    with atheris.instrument_imports(include=["PIL", "tasks.pictures"]):
        from PIL import Image

        Image.init()  # Pillow imports its formats late
        from tasks.pictures.reading import UnusableError, check_file, read_picture
    from tests.support.bad_pictures import bytes_of

    def target(data: bytes) -> None:
        path = SCRATCH / "picture"
        path.write_bytes(data)
        try:
            check_file(path)
            picture = read_picture(path, 16, 1, 1_000_000)
        except UnusableError as reason:
            assert str(reason).isprintable()
        else:
            assert (picture.image.mode, picture.image.size) == ("RGB", (16, 16))

    return target, bytes_of()


def words() -> tuple[Target, Iterable[tuple[str, bytes]]]:
    """Return the reader of other tools' words as a target, and files to start from."""
    from torch._weights_only_unpickler import Unpickler

    with atheris.instrument_imports(include=["tasks.words"]):
        from tasks.words.formats import read_word
    from tests.support.bad_words import bad_words

    Unpickler.load = atheris.instrument_func(Unpickler.load)

    def target(data: bytes) -> None:
        path = SCRATCH / "word"
        path.write_bytes(data)
        try:
            word = read_word(path)
        except ValueError as error:
            assert str(path) in str(error) and len(str(error).splitlines()) == 1
        else:
            assert word.parts and all(part.dim() == 2 and part.isfinite().all() for part in word.parts)

    return target, bad_words()


def main(name: str, seconds: str) -> None:
    target, seeds = {"pictures": pictures, "words": words}[name]()
    corpus = SCRATCH / "corpus"
    corpus.mkdir()
    for number, (_, data) in enumerate(seeds):
        if len(data) < 1 << 16:  # large files take long and reach no further code
            (corpus / str(number)).write_bytes(data)
    limits = ["-timeout=20", "-report_slow_units=20", "-rss_limit_mb=4096", "-max_len=65536", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", *limits, str(corpus)], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
