"""Making a catalog: a folder of its own, under Git and DVC, in which the installed tool works."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from tasks import artifacts
from tasks.pipeline import merge_driver, repository
from tasks.pipeline.git import git
from tasks.settings import load_settings
from tasks.shipped import EMBEDDED, shipped

COPIED = ("dvc.yaml", "prefect.yaml", ".gitignore", ".gitattributes", ".dvcignore", "data/.gitignore")
BY_NAME = {f"data/base/{name}": name for name in EMBEDDED} | {"local-dir:data/base/emoji-clip": "emoji-clip"}
"""The path of an embedded model in the shipped params.yaml -> its name, which works in any catalog."""
README = """# {name}

A catalog of visual concepts, made by `wordmint init`.

    wordmint add mug ~/photos/*.jpg --word coffee --source "my camera" --licence CC0-1.0 --consent "no people"
    wordmint build
    wordmint imagine "a photo of a <mug> on the moon"

`params.yaml` has the settings, `data/images/` the pictures. Git keeps the declarations, DVC keeps pictures and results, MLflow keeps versions
in `mlruns/`. `wordmint status` says what is stale and why.
"""


def new_catalog(folder: Path, example: bool = False) -> None:
    """Make a catalog in a new or empty folder; an error leaves nothing behind.

    example: add the five concepts that come with wordmint, with their pictures.

    Raises:
        ValueError: the folder is not empty, or its parent is not a folder.
    """
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is not empty; name a new folder, as in `wordmint init my-catalog`")
    # The entries of an empty folder are moved into it: it may be a shell's own, or a mounted one, and stays what it is.
    place = folder / "catalog" if folder.exists() else folder
    with artifacts.new_folder(place) as root:
        for name in COPIED:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(shipped(name), root / name)
        (root / "params.yaml").write_text(settings_text(example), encoding="utf-8")
        (root / "README.md").write_text(README.format(name=folder.name), encoding="utf-8")
        (root / artifacts.DATA / "images").mkdir()
        repository.new_repo(root, with_git=under_git(root))
        merge_driver.set_up(root)
        if not (root / ".git").exists():  # DVC put its files into the index of the repository around, under a name that does not stay
            git("-C", str(root), "rm", "-r", "--cached", "--quiet", "--ignore-unmatch", "--", ".")
        if example:
            bring_pictures(root)
    if place != folder:
        for entry in list(place.iterdir()):
            os.replace(entry, folder / entry.name)
        place.rmdir()


def settings_text(example: bool) -> str:
    """Return the commented params.yaml of a new catalog, with the embedded models by name."""
    text = shipped("params.yaml").read_text(encoding="utf-8")
    for path, name in BY_NAME.items():
        text = text.replace(f": {path}", f": {name}".ljust(len(f": {path}")))
    return text if example else re.sub(r"^concepts:\n(?:  .*\n)+", "concepts: {}\n", text, flags=re.MULTILINE)


def under_git(root: Path) -> bool:
    """Put a folder under Git unless it lies in a repository already; return whether it is under Git, which may not be installed."""
    if shutil.which("git") is None:
        return False
    inside = subprocess.run(["git", "-C", str(root), "rev-parse", "--is-inside-work-tree"], capture_output=True, check=False).returncode == 0
    return inside or subprocess.run(["git", "-C", str(root), "init", "--quiet"], check=False).returncode == 0


def bring_pictures(root: Path) -> None:
    """Put the pictures of the example's concepts into a new catalog, from the DVC remote that comes with wordmint."""
    images, pointers = artifacts.images(""), []
    for concept in load_settings(root / "params.yaml").concepts:
        for path in (artifacts.pointer(artifacts.images(concept)), artifacts.rights(concept)):
            shutil.copy(shipped(*path.parts), root / path)
        pointers.append(root / artifacts.pointer(artifacts.images(concept)))
        with (root / images / ".gitignore").open("a", encoding="utf-8") as ignored:
            ignored.write(f"/{concept}\n")
    shutil.copytree(shipped("data", "remote", "files"), root / ".dvc" / "cache" / "files")
    repository.check_out(root, pointers)
