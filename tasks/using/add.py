"""Adding a concept to a catalog."""

import filecmp
import re
import shutil
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from filelock import FileLock
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from tasks import artifacts
from tasks.artifacts import check_concept_key
from tasks.concepts.rights import Rights, write_rights
from tasks.documents import parsed
from tasks.faults import point
from tasks.pipeline import repository, storage
from tasks.settings import Settings, parse_settings


def add_concept(
    name: str,
    pictures: Sequence[Path],
    word: str,
    kind: str,
    settings: Settings,
    rights: Rights,
    source: Path | None = None,
    lora: Path | None = None,
    params: Path = Path("params.yaml"),
) -> None:
    """Copy a concept's pictures, put them under DVC, and add the concept to params.yaml, whose comments stay.

    source: the file of an imported word, and lora that of its LoRA; they are copied too. Nothing is written before everything is checked.

    Raises:
        ValueError: the key or its word is not valid or taken, a right in the pictures is not declared, a picture is not a file, or two
            pictures have the same name.
    """
    check_new_key(name, settings)
    if missing := rights.missing():
        options = ", ".join(f"--{field}" for field in missing)
        raise ValueError(f"the pictures of {name!r} need {options}; where one is not known, say why with --undeclared")
    check_pictures(pictures)
    entry: dict[str, Any] = {"kind": kind, "placeholder_token": f"<{name}>", "initializer_token": word}
    imported = {imported_name(path): path for path in (source, lora) if path}
    if source:
        entry["source"] = {"file": imported_name(source), "sha256": artifacts.sha256(source)}
    if source and lora:
        if len(imported) < 2:
            raise ValueError(f"the word and its LoRA are both called {source.name}; rename one of them")
        entry["lora"] = {"file": imported_name(lora), "sha256": artifacts.sha256(lora)}
    copies = {artifacts.images(name) / picture.name: picture for picture in pictures}
    refuse_other_files(name, copies | {artifacts.imported(name) / file: path for file, path in imported.items()})
    params_with(name, entry, params)
    try:
        for file, path in imported.items():
            artifacts.write_bytes(artifacts.imported(name) / file, path.read_bytes())
        with artifacts.new_folder(artifacts.images(name)) as folder:
            for picture in pictures:
                shutil.copy(picture, folder / picture.name)
        write_rights(artifacts.rights(name), rights)
        point("pictures copied, not tracked")
        with repository.open_repo() as repo:
            storage.track_inputs(repo, [name])
        point("pictures tracked, params.yaml not written")
        with FileLock(artifacts.CACHE / "params.lock"):  # params.yaml is read again: it may have been edited meanwhile
            artifacts.write_bytes(params, params_with(name, entry, params))
    except BaseException:  # the key becomes free again
        for folder in (artifacts.images(name), artifacts.imported(name)):
            shutil.rmtree(folder, ignore_errors=True)
            artifacts.pointer(folder).unlink(missing_ok=True)
        artifacts.rights(name).unlink(missing_ok=True)
        raise


def imported_name(path: Path) -> str:
    """Return the name under which an imported file is kept."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", path.name).lstrip(".") or "word"


def params_with(name: str, entry: Mapping[str, Any], params: Path) -> bytes:
    """Return params.yaml with one more concept and all its comments.

    Raises:
        ValueError: params.yaml would not be valid with the concept.
    """
    editor, edited = YAML(), BytesIO()
    editor.preserve_quotes, editor.width = True, 200
    editor.indent(mapping=2, sequence=4, offset=2)  # as a new catalog has it
    editor.representer.add_representer(type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null"))
    document = editor.load(params)
    if not document["concepts"]:
        document["concepts"] = CommentedMap()  # `concepts: {}` would stay on one line
    document["concepts"] |= {name: entry}
    editor.dump(document, edited)
    parse_settings(parsed(edited.getvalue(), params), params)  # as every command will read it
    return edited.getvalue()


def check_new_key(name: str, settings: Settings) -> None:
    """Check that a key is valid, and that neither it nor its word is taken.

    Raises:
        ValueError: the key is not valid, or it or its word is taken.
    """
    check_concept_key(name)
    if name in settings.concepts:
        raise ValueError(f"concept {name!r} exists already; choose another key, or add pictures to {artifacts.images(name)}")
    for key, concept in settings.concepts.items():
        if concept.placeholder_token == f"<{name}>":
            raise ValueError(f"<{name}> is the word of concept {key!r} already; choose another key")


def check_pictures(pictures: Sequence[Path]) -> None:
    """Check that pictures can lie in one folder.

    Raises:
        ValueError: one is not a file, or two have the same name.
    """
    for picture in pictures:
        if not picture.is_file():
            raise ValueError(f"picture {picture} is not a file")
    if len({picture.name for picture in pictures}) < len(pictures):
        raise ValueError("two pictures have the same file name; rename one of them")


def refuse_other_files(name: str, copies: Mapping[Path, Path]) -> None:
    """Check that a key has no files yet but those that an interrupted addition of the same ones left.

    copies: the path in the catalog -> the file that is to be copied there.

    Raises:
        ValueError: the key has other files.
    """
    for folder in artifacts.inputs(name):
        present = [path for path in folder.rglob("*") if path.is_file()]
        own = any(source.resolve().is_relative_to(folder.resolve()) for source in copies.values())
        known = all(path in copies and filecmp.cmp(path, copies[path], shallow=False) for path in present)
        if own or not known or (artifacts.pointer(folder).exists() and not present):
            raise ValueError(f"{folder} exists already and has other files; choose another key, or move them away")
