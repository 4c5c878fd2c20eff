"""YAML files, read and written as DVC does: both have to find the same values in params.yaml and in dvc.lock."""

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

TRUTH, WHOLE, REAL = (f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float"))
PLAIN = {
    TRUTH: (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    REAL: (
        r"[-+]?[0-9][0-9_]*(\.[0-9_]*([eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)|[-+]?\.[0-9_]+([eE][-+][0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
    WHOLE: (r"[-+]?(0b[01_]+|0o?[0-7_]+|[0-9_]+|0x[0-9a-fA-F_]+)", "-+0123456789"),
}
"""What DVC reads as a truth value or a number where it stands without quotes, and the characters that it starts with. DVC reads YAML 1.2: there
`on` is a text and `1e-05` a number, and in PyYAML's YAML 1.1 it is the other way round."""
DEEP = 20_000  # marks that may open a list or a mapping: the reader in C ends the process if so many are nested


class OneValueEach:
    """Refuses a mapping that has a key twice, as DVC does; PyYAML would take the last value without a word."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge the mappings under `<<` into this one; PyYAML may ask for it again, and the keys that were merged are then among its own."""
        looked_at, seen = vars(self).setdefault("looked_at", set()), set()
        if id(node) not in looked_at:
            looked_at.add(id(node))
            for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
                if (key.tag, key.value) in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice; delete the second", key.start_mark)
                seen.add((key.tag, key.value))
        super().flatten_mapping(node)  # type: ignore[misc]


class Loader(OneValueEach, yaml.CSafeLoader):
    """Reads as DVC does."""


class DeepLoader(OneValueEach, yaml.SafeLoader):
    """Reads as `Loader` does and in ten times its time; nesting of any depth ends in an error."""


class Dumper(yaml.CSafeDumper):
    """Quotes each text that DVC or PyYAML would read as something else."""


def whole_number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    digits = loader.construct_scalar(node).replace("_", "")
    return int(digits, 0 if digits.lstrip("-+")[1:2] in ("b", "o", "x") else 10)


for reader in (Loader, DeepLoader):
    reader.yaml_implicit_resolvers = {
        first: [(tag, known) for tag, known in resolvers if tag not in PLAIN] for first, resolvers in reader.yaml_implicit_resolvers.items()
    }
    reader.add_constructor(WHOLE, whole_number)
for tag, (pattern, first) in PLAIN.items():
    for kind in (Loader, DeepLoader, Dumper):
        kind.add_implicit_resolver(tag, re.compile(f"(?:{pattern})$"), list(first))


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds.

    Raises:
        ValueError: it is no file that can be read to its end, or not YAML.
    """
    return parsed(read(path), path)


def read_yaml_once(path: Path) -> Any:
    """Return what `read_yaml` does, parsed once for these bytes: ten thousand concepts take a second. Nobody may change it."""
    return parsed(read(path), path, loaded_once)


def read(path: Path) -> bytes:
    if not path.is_file():
        raise ValueError(f"{path} is not a regular file; replace it with one")
    return path.read_bytes()


def loaded(text: bytes) -> Any:
    deep = sum(map(text.count, (b"[", b"{", b"- ", b"? "))) >= DEEP
    return yaml.load(text.decode(), Loader=DeepLoader if deep else Loader)


loaded_once = lru_cache(maxsize=2)(loaded)


def as_yaml(document: Any) -> str:
    """Return a document as YAML, its keys in their order."""
    return yaml.dump(document, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=150)


def parsed(text: bytes, path: Path, load: Callable[[bytes], Any] = loaded) -> Any:
    """Return what the text of a YAML file holds; `path` names it in errors."""
    if b"\n<<<<<<< " in b"\n" + text:  # which no YAML can have at the start of a line
        raise ValueError(f"{path} has the marks of a conflict in Git; settle it, for example with `wordmint take`")
    try:
        return load(text)
    except Exception as error:  # beside YAMLError, PyYAML raises ValueError, LookupError, AttributeError ... on a value that does not fit its tag
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
