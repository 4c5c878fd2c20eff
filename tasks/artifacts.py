"""The paths under data/, which no other module spells out, writing files there atomically, and locks."""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from tasks.faults import point

DATA = Path("data")
CACHE = Path(".cache")  # checkpoints and shared reference pictures: nothing that a stage's result depends on
REPORT = DATA / "report"
CARDS = REPORT / "cards"
CURVES = REPORT / "curves"
COMPOSITIONS = DATA / "compositions"


def images(concept: str) -> Path:
    return DATA / "images" / concept


def larger(concept: str) -> Path:
    return DATA / "larger" / concept


def rival(cell: str) -> Path:
    return DATA / "rivals" / cell


def rights(concept: str) -> Path:
    return DATA / "images" / f"{concept}.yaml"


def imported(concept: str) -> Path:
    return DATA / "imported" / concept


def curated(concept: str) -> Path:
    return DATA / "curated" / concept


def manifest(concept: str) -> Path:
    return curated(concept) / "manifest.json"


def embeddings(concept: str) -> Path:
    return DATA / "embeddings" / concept


def learned_embeds(concept: str) -> Path:
    return embeddings(concept) / "learned_embeds.safetensors"


def train_record(concept: str) -> Path:
    return embeddings(concept) / "train.json"


def samples(concept: str) -> Path:
    return DATA / "samples" / concept


def samples_record(concept: str) -> Path:
    return samples(concept) / "samples.json"


def scores(concept: str) -> Path:
    return DATA / "scores" / f"{concept}.json"


def registered(concept: str) -> Path:
    return DATA / "registered" / f"{concept}.json"


def page(concept: str) -> Path:
    return REPORT / "concepts" / concept


def card(concept: str) -> Path:
    return CARDS / f"{concept}.json"


def composition(first: str, second: str) -> Path:
    """Return the folder of the pictures that two words give together; a concept key has no +."""
    return COMPOSITIONS / f"{first}+{second}"


def composition_record(first: str, second: str) -> Path:
    return composition(first, second) / "composition.json"


def questionnaire(digest: str) -> Path:
    return DATA / "questionnaires" / f"{digest}.json"


def answers(concept: str) -> Path:
    return DATA / "answers" / concept


def checkpoints() -> Path:
    return CACHE / "checkpoints"


def references() -> Path:
    return CACHE / "references"


def pointer(folder: Path) -> Path:
    """Return the file by which DVC tracks a folder."""
    return folder.with_name(f"{folder.name}.dvc")


def inputs(concept: str) -> tuple[Path, Path]:
    """Return the folders that a concept is made from: the one of its pictures, and the one of the file that it was imported from."""
    return images(concept), imported(concept)


def md5(path: Path) -> str:
    """Return a file's md5 as DVC computes it, from the bytes and not from DVC's cache of digests."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def sha256(*paths: Path) -> str:
    """Return the SHA-256 of files read one after the other, in hex."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def folder_digest(folder: Path, pattern: str = "*") -> str:
    """Return one SHA-256 over the names and bytes of a folder's files."""
    files = sorted(path for path in folder.glob(pattern) if path.is_file())
    return hashlib.sha256("".join(f"{path.relative_to(folder).as_posix()}\0{sha256(path)}\n" for path in files).encode()).hexdigest()


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def read_json_if_there(path: Path) -> Any:
    """Return what a JSON file holds, or None if there is none; a build may replace it at any moment."""
    try:
        return read_json(path)
    except FileNotFoundError:
        return None


def write_json(path: Path, value: Any) -> None:
    """Write JSON under a temporary name, then move it into place."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file under a temporary name, then move it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        point("file written, not in place")
        os.replace(temporary, path)
    except BaseException:  # on a full disk its half would take the space of what is still to be written
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that replaces `path` when the block succeeds; after an error `path` is unchanged."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    previous = path.with_name(f".{path.name}.{os.getpid()}.old")
    shutil.rmtree(previous, ignore_errors=True)
    try:
        yield temporary
        if path.exists():
            os.replace(path, previous)
            point("old folder away, new one not in place")
        try:
            os.replace(temporary, path)
        except OSError:
            if previous.exists():
                os.replace(previous, path)
            raise
        shutil.rmtree(previous, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def prompt_slug(prompt: str) -> str:
    """Return the folder name for a prompt's pictures: its words without the placeholder."""
    slug = "-".join("".join(letter if letter.isalnum() else " " for letter in prompt.lower()).split())[:80]
    return slug.encode()[:240].decode(errors="ignore")  # a file system takes 255 bytes, and a letter may have four


CONCEPT_KEY = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def check_concept_key(key: str) -> str:
    """Return `key` if it can be a path, a stage name, a model name and a shell word at once; raise a ValueError otherwise."""
    if not CONCEPT_KEY.fullmatch(key):
        raise ValueError(f"concept key {key!r} must match {CONCEPT_KEY.pattern}: use lower-case letters, digits, - and _")
    return key


def check_prompt(prompt: str) -> str:
    """Return a prompt that has one place for the word and is plain text; raise a ValueError otherwise."""
    if prompt.count("{}") != 1 or prompt.count("{") + prompt.count("}") != 2:
        raise ValueError(f"prompt {prompt!r} must contain {{}} once, where the word goes, and no other brace")
    if re.search(r"[\x00-\x1f\x7f-\x9f]", prompt):
        raise ValueError(f"prompt {prompt!r} has control characters; write it on one line of plain text")
    return prompt


def check_suite(prompts: tuple[str, ...]) -> tuple[str, ...]:
    """Return prompts whose pictures have a folder each; raise a ValueError if two of them would share one."""
    slugs = [prompt_slug(prompt) for prompt in prompts]
    for prompt, slug in zip(prompts, slugs, strict=True):
        if not slug or slugs.count(slug) > 1:
            raise ValueError(f"prompt {prompt!r} gives the folder name {slug!r}, which is empty or taken by another prompt; change its words")
    return prompts


def machine_lock(name: str) -> FileLock:
    """Return a lock that all processes of this machine share, whoever started them and in whatever folder."""
    shared = Path("/dev/shm")  # all users and services see the same one; each may have a temporary folder of its own
    folder = shared if shared.is_dir() else Path(tempfile.gettempdir())
    return FileLock(folder / f"wordmint-{name}.lock", mode=0o666)
