"""Merge params.yaml key by key: people may add concepts and change settings side by side.

A key keeps the lines that hold it, and the comments in and above them. A key that both sides changed differently stands between Git's marks for
conflicts, which also name it; `taken` keeps one side of such marks.
"""

import re
from dataclasses import dataclass
from typing import Any

import yaml

from tasks.documents import Loader

ABSENT = object()
MARKS = re.compile(r"^<{7,} ours: (?P<path>.*)\n(?P<ours>(?:.*\n)*?)={7,}\n(?P<theirs>(?:.*\n)*?)>{7,} theirs: (?P=path)\n", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """The lines of one key of a mapping."""

    head: str
    """The comments above the key and its own line; all lines of a key that has no keys below it."""
    value: Any
    keys: "dict[str, Block] | None" = None
    """The keys below it; None if its value is no mapping with a line for each key."""

    @property
    def text(self) -> str:
        return self.head + "".join(block.text for block in (self.keys or {}).values())


def merge_params(base: str, ours: str, theirs: str, marks: int = 7) -> tuple[str, list[str]]:
    """Return the merged params.yaml, and the path of each key in conflict, such as `concepts.fox.initializer_token`.

    base: what both sides started from; a merge of several bases may have left its own marks in it.
    marks: how many characters a mark has.

    Raises:
        ValueError: a version is not YAML with a line for each key, or the lines of both together would mean something else.
    """
    conflicts: list[str] = []
    common, mine, other = parse(taken(base, "ours"), "the common version"), parse(ours, "our version"), parse(theirs, "their version")
    merged = merge_keys("", common, mine, other, conflicts, marks)
    if parse(taken(merged.text, "ours"), "the merged version").value != merged.value:
        raise ValueError("the two versions' lines cannot be combined")
    return merged.text, conflicts


def taken(text: str, side: str, path: str = "") -> str:
    """Return a params.yaml with one side, `ours` or `theirs`, of the conflicts at and below a path, by default of all."""
    return MARKS.sub(lambda marked: marked[side] if within(marked["path"], path) else marked[0], text)


def within(inner: str, path: str) -> bool:
    """Tell whether one path in params.yaml is another or lies below it; everything lies below the empty path."""
    return not path or f"{inner}.".startswith(f"{path}.")


def conflicts_in(text: str) -> list[str]:
    """Return the paths of the marked conflicts."""
    return [marked["path"] for marked in MARKS.finditer(text)]


def parse(text: str, name: str) -> Block:
    """Return a params.yaml as a block without a head; `name` names it in errors."""
    try:
        loader = Loader(text)
        node = loader.get_single_node()
        value = loader.construct_document(node) if node else {}
    except yaml.YAMLError as error:
        raise ValueError(f"{name} is not valid YAML: {' '.join(str(error).split())}") from error
    if node is None:
        return Block("", {}, {})
    if not isinstance(node, yaml.MappingNode) or node.flow_style:
        raise ValueError(f"{name} has no line for each key")
    lines = text.splitlines(keepends=True)
    lines[-1] = lines[-1].rstrip("\r\n") + "\n"
    return Block("", value, parse_keys(lines, 0, len(lines), node, value))


def parse_keys(lines: list[str], start: int, end: int, node: yaml.MappingNode, value: dict[Any, Any]) -> dict[str, Block]:
    """Return the blocks of a mapping, which share its lines from `start` to `end` among them."""
    if any(key.value not in value for key, _ in node.value):
        raise ValueError("a key is not text")
    starts = [start]
    for (before, _), (key, _) in zip(node.value, node.value[1:], strict=False):
        line = key.start_mark.line
        while line - 1 > before.start_mark.line and above(lines[line - 1], key.start_mark.column):
            line -= 1
        starts.append(line)
    blocks = {}
    for (key, below), first, last in zip(node.value, starts, [*starts[1:], end], strict=True):
        inner, name = value[key.value], key.value
        if isinstance(below, yaml.MappingNode) and not below.flow_style and below.start_mark.line > key.start_mark.line:
            body = key.start_mark.line + 1
            blocks[name] = Block("".join(lines[first:body]), inner, parse_keys(lines, body, last, below, inner))
        else:
            blocks[name] = Block("".join(lines[first:last]), inner, {} if inner == {} else None)
    return blocks


def above(line: str, column: int) -> bool:
    """Tell whether a line in front of a key belongs to it: an empty one, or a comment that is indented no deeper."""
    text = line.lstrip()
    return not text or (text.startswith("#") and len(line) - len(text) <= column)


def merge_keys(path: str, base: Block | None, ours: Block, theirs: Block, conflicts: list[str], marks: int) -> Block:
    """Merge two mappings key by key."""
    old, mine, other = ((block.keys if block else None) or {} for block in (base, ours, theirs))
    head: Block | None = ours if mine else theirs
    if bool(mine) == bool(other):  # `concepts: {}` has another first line than concepts with keys
        head = merge_block(path, base and Block(base.head, None), Block(ours.head, None), Block(theirs.head, None), conflicts, marks)
    assert head is not None
    merged = {}
    for name in in_order(mine, other):
        inner = f"{path}.{name}" if path else name
        if block := merge_block(inner, old.get(name), mine.get(name), other.get(name), conflicts, marks):
            merged[name] = block
    return Block(head.head, {name: block.value for name, block in merged.items() if block.value is not ABSENT}, merged)


def in_order(ours: dict[str, Block], theirs: dict[str, Block]) -> list[str]:
    """Return our keys, and each of their own keys before the key that follows it in their order, or at the end."""
    names, following = list(ours), None
    for name in reversed(theirs):
        if name not in ours:
            names.insert(names.index(following) if following else len(names), name)
        following = name
    return names


def merge_block(path: str, base: Block | None, ours: Block | None, theirs: Block | None, conflicts: list[str], marks: int) -> Block | None:
    """Merge one key; None: a side lacks it. If the sides changed it differently, mark both and note its path in `conflicts`."""
    if same(ours, theirs) or same(base, theirs):
        return ours
    if same(base, ours):
        return theirs
    emptied = base and base.keys and not (ours and ours.keys and theirs and theirs.keys)
    if ours and theirs and ours.keys is not None and theirs.keys is not None and not emptied:
        return merge_keys(path, base, ours, theirs, conflicts, marks)
    conflicts.append(path)
    mine, other = (block.text if block else "" for block in (ours, theirs))
    text = f"{'<' * marks} ours: {path}\n{mine}{'=' * marks}\n{other}{'>' * marks} theirs: {path}\n"
    return Block(text, ours.value if ours else ABSENT)


def same(one: Block | None, other: Block | None) -> bool:
    """Tell whether two blocks have the same values and comments; a command that writes params.yaml may lay lists out anew."""
    if one is None or other is None:
        return one is other
    return one.value == other.value and one.text.split() == other.text.split()
