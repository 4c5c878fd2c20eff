"""dvc.lock as the text of its entries; a YAML parser takes half a minute for the entries of ten thousand concepts, and a build needs few of them."""

import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from tasks.documents import Dumper, Loader

HEADER = "schema: '2.0'\nstages:\n"
EMPTY = "schema: '2.0'\nstages: {}\n"
ENTRY, NO_ENTRY, SECTION = re.compile(r"\n  (?=\S)"), re.compile(r"\n\S"), re.compile(r"\n    (?=[^\s-])")
FOREIGN = (": &", ": *", "- &", "- *")
"""YAML's anchors and aliases, which DVC does not write."""
LOCK = Path("dvc.lock")
DAMAGED = "dvc.lock is damaged or was edited; run `git restore dvc.lock` or delete it; a build then takes the results from DVC's run-cache"
KEPT = 100  # parsed entries: DVC asks for those of a concept again and again, and for those of ten thousand once


class Entries(MutableMapping[str, Any]):
    """The entries of dvc.lock by stage, such as `curate@fox`; each is parsed when it is asked for."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts = dict(texts)
        self.parsed: dict[str, Any] = {}

    def __getitem__(self, stage: str) -> Any:
        if stage not in self.parsed:
            if len(self.parsed) >= KEPT:
                self.parsed.clear()
            self.parsed[stage] = undamaged(lambda: parsed(self.texts[stage]))
        return self.parsed[stage]

    def __setitem__(self, stage: str, entry: Any) -> None:
        self.texts[stage], self.parsed[stage] = written(stage, entry), entry

    def __delitem__(self, stage: str) -> None:
        del self.texts[stage]
        self.parsed.pop(stage, None)

    def __contains__(self, stage: object) -> bool:
        return stage in self.texts

    def __iter__(self) -> Iterator[str]:
        return iter(self.texts)

    def __len__(self) -> int:
        return len(self.texts)

    def outs(self, stage: str) -> list[dict[str, Any]]:
        """Return what a stage recorded of its outputs; only that section is parsed, for a push or a pull asks for those of every stage."""
        text = self.texts[stage]
        start = text.rfind("\n    outs:\n")
        found: list[dict[str, Any]] = (self[stage] if start < 0 else undamaged(lambda: yaml.load(text[start:], Loader))).get("outs", [])
        return found

    def text(self) -> str:
        """Return the file as a whole."""
        return joined(self.texts)


def read(parse: Callable[[], Mapping[str, Any]], path: Path = LOCK) -> Entries:
    """Read dvc.lock; a file that does not exist has no entries.

    parse: returns all entries as DVC reads them, with DVC's errors; it is called if the text has anything else than `split` knows.
    """
    texts = split(path.read_text(encoding="utf-8")) if path.exists() else {}
    return Entries({stage: written(stage, entry) for stage, entry in parse().items()} if texts is None else texts)


def split(text: str) -> dict[str, str] | None:
    """Return the text of each entry, or None if there is more than entries as DVC writes them: another section, a comment, a conflict, an anchor.

    The last entry is left out if it is torn: an interrupted `dvc repro` may end in the middle of its writing, and the run-cache has the result.
    """
    if text == EMPTY:
        return {}
    # The text has megabytes: it is searched where it lies, from the header's last line break to the last of all.
    start, end = len(HEADER) - 1, text.rfind("\n") + 1
    if not text.startswith(HEADER) or NO_ENTRY.search(text, start, end) or has_anchors(text):
        return None
    starts = [found.start() + 1 for found in ENTRY.finditer(text, start, end)]
    first, *entries = (text[begin:until] for begin, until in pairwise([start + 1, *starts, end]))
    if entries and (text.startswith("    ", end) or not is_whole(entries[-1])):  # an entry's own lines are indented by four
        entries.pop()
    texts = {entry.partition(":\n")[0].strip(): entry for entry in entries}
    return None if first or len(texts) < len(entries) else texts


def has_anchors(text: str) -> bool:
    return ("&" in text or "*" in text) and any(mark in text for mark in FOREIGN)  # single characters are found sixty times as fast


def is_whole(entry: str) -> bool:
    """Tell whether the text of an entry has all that DVC writes. Only the last section is parsed: the report's entry has every concept."""
    sections = [found.start() + 1 for found in SECTION.finditer(entry)]
    if not sections or "\n    cmd:" not in entry:
        return False
    try:
        (content,) = yaml.load(entry[sections[-1] :], Loader).values()
    except (yaml.YAMLError, AttributeError, ValueError):
        return False
    return content is not None


def undamaged(read: Callable[[], Any]) -> Any:
    """Return what is read of an entry.

    Raises:
        ValueError: the entry is damaged.
    """
    try:
        return read()
    except (yaml.YAMLError, AttributeError) as error:
        raise ValueError(DAMAGED) from error


def joined(texts: Mapping[str, str]) -> str:
    """Return a whole dvc.lock of these entries."""
    return HEADER + "".join(texts.values()) if texts else EMPTY


def parsed(entry: str) -> dict[str, Any]:
    """Return an entry's content."""
    (content,) = yaml.load(entry, Loader).values()
    return content


def written(stage: str, entry: Any) -> str:
    """Return an entry as it stands in dvc.lock."""
    document = yaml.dump({"stages": {stage: entry}}, Dumper=Dumper, sort_keys=False)
    return document.removeprefix("stages:\n")
