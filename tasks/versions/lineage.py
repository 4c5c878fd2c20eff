"""Lineage: from a version to the exact pictures that it was learned from, and back. Every link is checked and not only told."""

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from tasks import artifacts
from tasks.concepts.rights import ASKED, read_rights
from tasks.diffusion.base_model import model_folder, weights_sha256
from tasks.pipeline import git, repository, storage
from tasks.registry import publishing, reading
from tasks.shipped import folder_of

HOLDS, BROKEN, OPEN = "holds", "BROKEN", "open"


class Unsettled(Exception):
    """Nothing here can tell whether a link holds, and nothing speaks against it."""


@dataclass(frozen=True)
class Version:
    """What the links are checked of."""

    concept: str
    number: int
    tags: Mapping[str, str]
    settings: Mapping[str, str]
    repo: repository.Repo


def trace(reference: str) -> dict[str, Any]:
    """Return {concept, version, created, aliases, revoked, flow_run, settings, links} of a version, after checking every link.

    reference: `fox` is its champion; `fox@challenger` and `fox@v3` are others. links: name -> {verdict, recorded, said}.

    Raises:
        ValueError: there is no such version.
    """
    concept, _, which = reference.partition("@")
    row = find(concept, which or reading.CHAMPION)
    with tempfile.TemporaryDirectory() as folder, repository.open_repo() as repo:
        settings = reading.training(concept, row["version"], Path(folder))[0]
        version = Version(concept, row["version"], row["tags"], settings, repo)
        links = {name: checked(link, tags, version) for name, (link, tags) in LINKS.items() if name != "imported" or "imported_path" in row["tags"]}
    facts = {"concept": concept, **{key: row[key] for key in ("version", "created", "aliases")}}
    return facts | {"revoked": row["tags"].get(reading.REVOKED), "flow_run": row["tags"].get("flow_run"), "settings": settings, "links": links}


def find(concept: str, which: str) -> dict[str, Any]:
    """Return what the registry has of the version that an alias or `v3` names, be it revoked.

    Raises:
        ValueError: there is none.
    """
    rows = reading.described(concept)
    for row in rows:
        if which == f"v{row['version']}" or which in row["aliases"]:
            return row
    has = ", ".join(f"v{row['version']}" for row in rows) or f"no version; build it with `wordmint build {concept}`"
    raise ValueError(f"concept {concept!r} has no {which}; it has {has}")


def checked(link: Callable[[Version], str], recorded: tuple[str, ...], version: Version) -> dict[str, Any]:
    """Return {verdict, recorded, said} of one link; what cannot be read is as broken as what differs."""
    missing = [name for name in recorded if name not in version.tags]
    facts = {name: version.tags.get(name) for name in recorded}
    if missing:
        return {"verdict": BROKEN, "recorded": facts, "said": f"{', '.join(missing)} was not kept; the version is from before it was"}
    try:
        return {"verdict": HOLDS, "recorded": facts, "said": link(version)}
    except Unsettled as reason:
        return {"verdict": OPEN, "recorded": facts, "said": str(reason)}
    except Exception as error:  # DVC, MLflow and the hub have their own; whatever it is, nothing was verified
        return {"verdict": BROKEN, "recorded": facts, "said": " ".join(str(error).split())}


def embedding(version: Version) -> str:
    """The stored bytes are those that were registered, say what the version says of them, and lie here as they are there."""
    path, tags = reading.fetch(version.concept, version.number)
    with safe_open(path, "np") as file:
        own = file.metadata()
    told = {"base_weights_sha256": tags["base_weights_sha256"], "data_sha256": tags["pictures_sha256"]}
    if odd := [name for name, value in told.items() if own.get(name) != value]:
        raise ValueError(f"the embedding's own record has another {', '.join(odd)} than the version")
    settings = {name: str(value) for name, value in json.loads(own["settings"]).items()}
    if odd := [name for name, value in settings.items() if version.settings.get(name) != value]:
        raise ValueError(f"the embedding's own record has another {', '.join(odd)} than the version's settings")
    here = result_here(version, "invert", artifacts.embeddings(version.concept), path)
    return f"the registry's bytes have this digest and say the same of base, pictures and settings{here}"


def pictures(version: Version) -> str:
    """DVC gives back every picture of the set, byte for byte, and they lie here as they were if this set is here."""
    md5, folder = version.tags["dataset_digest"], artifacts.images(version.concept)
    files = stored(version, md5)
    if storage.recorded_md5(folder) != md5:
        return f"{len(files)} pictures from DVC have their md5; {folder} is another set today"
    return f"{len(files)} pictures from DVC have their md5{unchanged(folder, files)}"


def manifest(version: Version) -> str:
    """The manifest of the curated pictures is the one that was registered, and its pictures are those of the set."""
    files = storage.recorded_files(version.repo, version.tags["dataset_digest"])
    with tempfile.TemporaryDirectory() as folder:
        kept = publishing.kept_manifest(version.concept, version.number, Path(folder))
        if (found := artifacts.sha256(kept)) != version.tags[publishing.SEALED]:
            raise ValueError(f"the manifest that is kept with the version has SHA-256 {found}")
        listed = artifacts.read_json(kept)["pictures"]
        for picture in listed:
            name = picture["source"]
            if name not in files:
                raise ValueError(f"{name} is in the manifest and not in the picture set")
            if picture["sha256"] and artifacts.sha256(storage.cached(version.repo, files[name])) != picture["sha256"]:
                raise ValueError(f"{name} is not the picture that was curated, which had SHA-256 {picture['sha256']}")
        here = result_here(version, "curate", artifacts.curated(version.concept), kept)
    return f"{sum(picture['kept'] for picture in listed)} of {len(listed)} pictures were used, and are those of the set{here}"


def imported(version: Version) -> str:
    """DVC gives back the file that an imported word came in."""
    files = stored(version, version.tags["imported_digest"])
    if version.tags["pictures_sha256"] not in [artifacts.sha256(storage.cached(version.repo, md5)) for md5 in files.values()]:
        raise ValueError(f"none of {', '.join(files)} is the file that the word was taken from")
    return f"{', '.join(files)} from DVC is the file that the word was taken from"


def commit(version: Version) -> str:
    """Git has a commit in which DVC tracks this picture set."""
    folder, md5, revision = artifacts.images(version.concept), version.tags["dataset_digest"], version.tags["git_revision"]
    path = artifacts.pointer(folder).as_posix()
    dirty = version.tags["git_dirty"] == "True"
    if storage.recorded_md5(folder, revision) == md5:
        return f"{path} has this picture set there" + (", other declarations had changes that were not committed" if dirty else "")
    if not dirty:
        raise ValueError(f"{path} does not have this picture set in commit {revision}; if Git does not know the commit, `git fetch` it")
    if later := git.git("log", "--all", "--format=%H", "-S", md5, "--", path):
        return f"the picture set was not committed then; it is in {later.splitlines()[-1]}"
    raise Unsettled(f"the picture set was not committed then, nor was it since; `git add {path}` and commit it")


def base(version: Version) -> str:
    """The base model's weights are those that the word was learned on."""
    tags, revision = version.tags, version.tags["base_revision"]
    return weights(model_folder(tags["base_model"], None if revision == "None" else revision), tags["base_weights_sha256"])


def scorer(version: Version) -> str:
    """The scorer's weights are those that judged the version."""
    model, recorded = version.tags["scorer_model"], version.tags["scorer_weights_sha256"]
    if folder := folder_of(model.removeprefix("local-dir:")):
        return weights(folder, recorded)
    from tasks.similarity.scorer import load_scorer

    name, _, tag = (model, "", None) if model.startswith("hf-hub:") else model.partition("/")
    if (found := load_scorer(name, tag, "cpu").identity["weights_sha256"]) != recorded:
        raise ValueError(f"the weights of {model} have SHA-256 {found}")
    return f"the weights of {model} are the same"


def rights(version: Version) -> str:
    """What is said of the pictures today is what the version says."""
    path = artifacts.rights(version.concept)
    if not path.exists():
        raise Unsettled(f"{path} is not here")
    if odd := [name for name, now in read_rights(version.concept).tags().items() if version.tags[name] != now]:
        raise Unsettled(f"{path} says another {', '.join(odd)} today; the next build publishes it")
    return f"{path} says the same"


LINKS: dict[str, tuple[Callable[[Version], str], tuple[str, ...]]] = {
    "embedding": (embedding, ("digest",)),
    "imported": (imported, ("imported_path", "imported_digest", "pictures_sha256")),
    "manifest": (manifest, (publishing.SEALED, "pictures_sha256")),
    "pictures": (pictures, ("dataset_path", "dataset_digest")),
    "commit": (commit, ("git_revision", "git_dirty")),
    "rights": (rights, ASKED),
    "base": (base, ("base_model", "base_revision", "base_weights_sha256")),
    "scorer": (scorer, ("scorer_model", "scorer_weights_sha256")),
}
"""Link -> its check, which returns what was compared and raises what is wrong, and the tags that it is about."""


def weights(folder: Path, recorded: str) -> str:
    """Say that a model's weights are those that were recorded.

    Raises:
        ValueError: they are others.
    """
    if (found := weights_sha256(folder)) != recorded:
        raise ValueError(f"the weights in {folder} have SHA-256 {found}")
    return f"the weights in {folder} are the same"


def stored(version: Version, md5: str) -> dict[str, str]:
    """Return name -> md5 of a folder's files, each of which was read from DVC's cache, or fetched, and has that md5.

    Raises:
        ValueError: one has another, or is not to be had.
    """
    files = storage.recorded_files(version.repo, md5)
    for name, expected in files.items():
        place = storage.cached(version.repo, expected)
        if (found := artifacts.md5(place)) != expected:
            raise ValueError(f"{name} has md5 {found} in DVC's cache and was registered with {expected}; delete {place}, and the remote's is fetched")
    return files


def unchanged(folder: Path, files: Mapping[str, str]) -> str:
    """Say that the files which lie in a folder are those of a list of md5s.

    Raises:
        ValueError: one differs.
    """
    here = [name for name in files if (folder / name).is_file()]
    for name in here:
        if (found := artifacts.md5(folder / name)) != files[name]:
            raise ValueError(f"{folder / name} has md5 {found} and was registered with {files[name]}; `dvc checkout` restores it")
    return f", as have those in {folder}" if here else ""


def result_here(version: Version, stage: str, folder: Path, kept: Path) -> str:
    """Say that a stage's folder is unchanged, if dvc.lock records it with the file that the version keeps a copy of."""
    md5 = repository.result_md5(version.repo, f"{stage}@{version.concept}")
    if md5 is None or not storage.cached(version.repo, md5).exists():
        return ""
    files = storage.recorded_files(version.repo, md5)
    return unchanged(folder, files) if artifacts.md5(kept) == files.get(kept.name) else ""
