"""Upgrade an older catalog's graph to the one that this wordmint runs, without retraining what is still current."""

import difflib
import re
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML

from tasks import artifacts
from tasks.documents import Dumper, Loader
from tasks.pipeline import lockfile
from tasks.pipeline.graph import EDITION, OLD_NUMBERS, declared, edition, read_stages
from tasks.shipped import shipped

RENAMED = {"flows.build_catalog.build_batch": "flows.batches.build_batch"}
"""The name of a flow in an older prefect.yaml -> its name now."""
OLD_MERGE = "# Two people who built both changed it; Git keeps yours whole, and `wordmint pull` brings what the other one built.\ndvc.lock -merge\n"
"""What an older .gitattributes has."""


def upgrades() -> dict[Path, bytes]:
    """Return file -> new content for every file of the catalog in this folder that an upgrade changes.

    Raises:
        ValueError: there is no dvc.yaml here.
    """
    graph, lock, prefect, attributes = map(Path, ("dvc.yaml", "dvc.lock", "prefect.yaml", ".gitattributes"))
    if not graph.exists():
        raise ValueError(f"{Path.cwd()} has no dvc.yaml to upgrade; run wordmint in the root of a catalog")
    new = {graph: new_graph(graph)}
    if lock.exists():
        new[lock] = new_lock(lock)
    if prefect.exists():
        new[prefect] = re.sub("|".join(map(re.escape, RENAMED)), lambda match: RENAMED[match[0]], prefect.read_text(encoding="utf-8")).encode()
    if attributes.exists():
        new[attributes] = new_attributes(attributes)
    return {path: content for path, content in new.items() if content != path.read_bytes()}


def new_graph(path: Path) -> bytes:
    """Return a dvc.yaml with our stages as this wordmint declares them; the owner's further stages and comments stay as they are."""
    stages = read_stages(path)
    if all(stages.get(name) == definition for name, definition in declared().items()):
        return path.read_bytes()
    if not stages.keys() - declared().keys():
        return shipped("dvc.yaml").read_bytes()
    editor, content = YAML(), BytesIO()
    editor.preserve_quotes, editor.width = True, 200
    document, ours = editor.load(path), editor.load(shipped("dvc.yaml"))
    document["stages"].update(ours["stages"])
    editor.dump(document, content)
    return content.getvalue()


def new_lock(path: Path) -> bytes:
    """Return a dvc.lock in which the results of today's editions stand under today's commands; the others stay stale."""
    text = path.read_text(encoding="utf-8")
    if (texts := lockfile.split(text)) is not None:
        entries = lockfile.Entries(texts)
        entries.update({name: new for name, entry in entries.items() if (new := new_entry(name, entry)) != entry})
        return entries.text().encode()
    try:  # it has more than entries as DVC writes them
        document = yaml.load(text, Loader=Loader) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML ({' '.join(str(error).split())}); run `git restore {path}` or delete it") from error
    stages = document.get("stages") or {}
    upgraded = {name: new_entry(name, entry) for name, entry in stages.items()}
    return text.encode() if upgraded == stages else yaml.dump(document | {"stages": upgraded}, Dumper=Dumper, sort_keys=False).encode()


def new_attributes(path: Path) -> bytes:
    """Return a .gitattributes in which our lines say how Git merges, after the owner's own."""
    text, ours = path.read_text(encoding="utf-8"), shipped(".gitattributes").read_text(encoding="utf-8")
    own = text.replace(OLD_MERGE, "").strip()
    return (text if ours in text else f"{own}\n{ours}".lstrip()).encode()


def new_entry(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stage's entry of dvc.lock, with today's command if its result is of today's edition."""
    stage, _, concept = name.partition("@")
    if stage not in declared():
        return dict(entry)
    params = {file: values for file, values in entry.get("params", {}).items() if file != OLD_NUMBERS}
    new = {key: value for key, value in entry.items() if key != "params"} | ({"params": params} if params else {})
    new = {key: new[key] for key in entry if key in new}  # in their order
    recorded = entry.get("params", {}).get(OLD_NUMBERS, {}).get(stage) or recorded_edition(entry["cmd"])
    if recorded == edition(stage):
        definition = declared()[stage]
        new["cmd"] = definition.get("do", definition)["cmd"].replace("${key}", concept)
    return new


def recorded_edition(command: str) -> int | None:
    match = EDITION.search(command)
    return int(match[1]) if match else None


def differences(new: Mapping[Path, bytes]) -> Iterator[str]:
    """Yield the lines of a unified diff between files and their new content."""
    for path, content in new.items():
        before, after = path.read_text(encoding="utf-8").splitlines(), content.decode().splitlines()
        yield from difflib.unified_diff(before, after, str(path), f"{path}, upgraded", lineterm="", n=1)


def upgrade(new: Mapping[Path, bytes]) -> None:
    """Write the new contents and add the results under their new commands to the run-cache."""
    from tasks.pipeline.repository import open_repo, remember_runs

    for path, content in new.items():
        artifacts.write_bytes(path, content)
    old = Path(OLD_NUMBERS)
    if old.exists():
        old.unlink()
    with open_repo() as repo:
        remember_runs(repo)
