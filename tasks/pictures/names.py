"""The names of picture files, and text that fits one line of a terminal and UTF-8 whatever it holds."""

import re
from collections.abc import Iterable
from pathlib import Path

PICTURE_SUFFIX = r"\.(avif|bmp|gif|jpe?g|jp2|png|ppm|tiff?|webp)$"
SIDE_FILE = re.compile(rf"\..*|(license|readme)(?!.*{PICTURE_SUFFIX}).*|captions\.yaml|.*\.dvc", re.IGNORECASE | re.DOTALL)


def printable(text: str) -> str:
    """Return text in which characters that do not print are escaped: line ends, control sequences, changes of direction, broken UTF-8."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def picture_files(folder: Path) -> dict[str, Path]:
    """Return a folder's entries by name in sorted order, without hidden files and the text that lies beside pictures.

    Characters of a name that do not print are escaped, so that it fits one line and UTF-8.
    """
    entries = sorted((path for path in folder.iterdir() if not SIDE_FILE.fullmatch(path.name)), key=lambda path: path.name)
    return {printable(path.name): path for path in entries}


def output_names(names: Iterable[str]) -> dict[str, str]:
    """Return a PNG file name for each name: its stem in plain letters, numbered where two are the same to any file system."""
    outputs: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        stem = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(name).stem).strip("-")[:80] or "picture"
        output, number = stem, 1
        while output.lower() in taken:
            number += 1
            output = f"{stem}-{number}"
        taken.add(output.lower())
        outputs[name] = f"{output}.png"
    return outputs
