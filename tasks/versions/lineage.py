"""Lineage: from a version to the exact pictures that it was learned from. Every link is checked, not only shown."""

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from tasks import artifacts
from tasks.concepts.rights import DECLARATIONS, read_rights
from tasks.diffusion.base_model import model_folder, weights_sha256
from tasks.pipeline import git, repository, storage
from tasks.registry import publishing, reading
from tasks.shipped import folder_of

HOLDS, BROKEN, OPEN = "holds", "BROKEN", "open"


class Unsettled(Exception):
    """Nothing on this machine can tell whether a link holds, and nothing contradicts it."""


@dataclass(frozen=True)
class Version:
    """A version whose links are checked."""

    concept: str
    number: int
    tags: Mapping[str, str]
    settings: Mapping[str, str]
    repo: repository.Repo


def trace(reference: str) -> dict[str, Any]:
    """Check every link of a version and return {concept, version, created, aliases, revoked, flow_run, settings, links}.

    reference: `fox` is its champion; `fox@challenger` and `fox@v3` are other versions. links: name -> {verdict, recorded, said}.

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
    """Return the registry's description of a version, named by an alias or as `v3`; it may be revoked.

    Raises:
        ValueError: there is no such version.
    """
    rows = reading.described(concept)
    for row in rows:
        if which == f"v{row['version']}" or which in row["aliases"]:
            return row
    names = ", ".join(f"v{row['version']}" for row in rows) or f"no version; build it with `wordmint build {concept}`"
    raise ValueError(f"concept {concept!r} has no {which}; it has {names}")


def checked(link: Callable[[Version], str], recorded: tuple[str, ...], version: Version) -> dict[str, Any]:
    """Return {verdict, recorded, said} of one link; a link that cannot be read is broken, as one that differs is."""
    missing = [name for name in recorded if name not in version.tags]
    facts = {name: version.tags.get(name) for name in recorded}
    if missing:
        return {"verdict": BROKEN, "recorded": facts, "said": f"{', '.join(missing)} was not kept when the version was published"}
    try:
        return {"verdict": HOLDS, "recorded": facts, "said": link(version)}
    except Unsettled as reason:
        return {"verdict": OPEN, "recorded": facts, "said": str(reason)}
    except Exception as error:  # DVC, MLflow and the hub raise their own errors; after any of them nothing is verified
        return {"verdict": BROKEN, "recorded": facts, "said": " ".join(str(error).split())}


def embedding(version: Version) -> str:
    """Check the stored bytes against the registered digest, their metadata against the version, and the file here against them."""
    path, tags = reading.fetch(version.concept, version.number)
    with safe_open(path, "np") as file:
        metadata = file.metadata()
    expected = {"base_weights_sha256": tags["base_weights_sha256"], "data_sha256": tags["pictures_sha256"]}
    if different := [name for name, value in expected.items() if metadata.get(name) != value]:
        raise ValueError(f"the embedding's metadata has another {', '.join(different)} than the version")
    settings = {name: str(value) for name, value in json.loads(metadata["settings"]).items()}
    if different := [name for name, value in settings.items() if version.settings.get(name) != value]:
        raise ValueError(f"the embedding's metadata has another {', '.join(different)} than the version's settings")
    local = result_here(version, "invert", artifacts.embeddings(version.concept), path)
    return f"the registry's bytes have this digest, and their metadata has the same base, pictures and settings{local}"


def pictures(version: Version) -> str:
    """Check that DVC has every picture of the set, byte for byte, and that the set is unchanged if it is here."""
    md5, folder = version.tags["dataset_digest"], artifacts.images(version.concept)
    files = stored(version, md5)
    if storage.recorded_md5(folder) != md5:
        return f"{len(files)} pictures from DVC have their md5; {folder} is another set today"
    return f"{len(files)} pictures from DVC have their md5{unchanged(folder, files)}"


def manifest(version: Version) -> str:
    """Check that the manifest of the curated pictures is the one that was registered, and that its pictures are those of the set."""
    files = storage.recorded_files(version.repo, version.tags["dataset_digest"])
    with tempfile.TemporaryDirectory() as folder:
        kept = publishing.kept_manifest(version.concept, version.number, Path(folder))
        if (found := artifacts.sha256(kept)) != version.tags[publishing.SEALED]:
            raise ValueError(f"the manifest that is kept with the version has SHA-256 {found}")
        listed = artifacts.read_json(kept)["pictures"]
        for picture in listed:
            name = picture["source"]
            if name not in files:
                raise ValueError(f"{name} is in the manifest but not in the picture set")
            if picture["sha256"] and artifacts.sha256(storage.cached(version.repo, files[name])) != picture["sha256"]:
                raise ValueError(f"{name} is not the picture that was curated, which had SHA-256 {picture['sha256']}")
        local = result_here(version, "curate", artifacts.curated(version.concept), kept)
    return f"{sum(picture['kept'] for picture in listed)} of {len(listed)} pictures were used, and are those of the set{local}"


def imported(version: Version) -> str:
    """Check that DVC has the file that an imported word came from."""
    files = stored(version, version.tags["imported_digest"])
    if version.tags["pictures_sha256"] not in [artifacts.sha256(storage.cached(version.repo, md5)) for md5 in files.values()]:
        raise ValueError(f"none of {', '.join(files)} is the file that the word was taken from")
    return f"{', '.join(files)} from DVC is the file that the word was taken from"


def commit(version: Version) -> str:
    """Check that a Git commit has this picture set, as DVC tracks it."""
    folder, md5, revision = artifacts.images(version.concept), version.tags["dataset_digest"], version.tags["git_revision"]
    path = artifacts.pointer(folder).as_posix()
    dirty = version.tags["git_dirty"] == "True"
    if storage.recorded_md5(folder, revision) == md5:
        return f"{path} has this picture set in that commit" + (", other declarations had uncommitted changes" if dirty else "")
    if not dirty:
        raise ValueError(f"{path} does not have this picture set in commit {revision}; if Git does not know the commit, `git fetch` it")
    if later := git.git("log", "--all", "--format=%H", "-S", md5, "--", path):
        return f"the picture set was not committed then; it is in {later.splitlines()[-1]}"
    raise Unsettled(f"the picture set was not committed then or since; `git add {path}` and commit it")


def base(version: Version) -> str:
    """Check that the base model's weights are those that the word was learned on."""
    tags, revision = version.tags, version.tags["base_revision"]
    return weights(model_folder(tags["base_model"], None if revision == "None" else revision), tags["base_weights_sha256"])


def scorer(version: Version) -> str:
    """Check that the scorer's weights are those that judged the version."""
    model, recorded = version.tags["scorer_model"], version.tags["scorer_weights_sha256"]
    if folder := folder_of(model.removeprefix("local-dir:")):
        return weights(folder, recorded)
    from tasks.similarity.scorer import load_scorer

    name, _, tag = (model, "", None) if model.startswith("hf-hub:") else model.partition("/")
    if (found := load_scorer(name, tag, "cpu").identity["weights_sha256"]) != recorded:
        raise ValueError(f"the weights of {model} have SHA-256 {found}")
    return f"the weights of {model} are the same"


def rights(version: Version) -> str:
    """Check that the rights of the pictures are the same today as in the version."""
    path = artifacts.rights(version.concept)
    if not path.exists():
        raise Unsettled(f"{path} is not here")
    if different := [name for name, value in read_rights(version.concept).tags().items() if version.tags[name] != value]:
        raise Unsettled(f"{path} says another {', '.join(different)} today; the next build publishes it")
    return f"{path} says the same"


LINKS: dict[str, tuple[Callable[[Version], str], tuple[str, ...]]] = {
    "embedding": (embedding, ("digest",)),
    "imported": (imported, ("imported_path", "imported_digest", "pictures_sha256")),
    "manifest": (manifest, (publishing.SEALED, "pictures_sha256")),
    "pictures": (pictures, ("dataset_path", "dataset_digest")),
    "commit": (commit, ("git_revision", "git_dirty")),
    "rights": (rights, DECLARATIONS),
    "base": (base, ("base_model", "base_revision", "base_weights_sha256")),
    "scorer": (scorer, ("scorer_model", "scorer_weights_sha256")),
}
"""Link -> (its check, the tags that it checks). A check returns a sentence on what it compared, or raises one on what is wrong."""


def weights(folder: Path, recorded: str) -> str:
    """Say that a model's weights are those that were recorded.

    Raises:
        ValueError: the weights differ.
    """
    if (found := weights_sha256(folder)) != recorded:
        raise ValueError(f"the weights in {folder} have SHA-256 {found}")
    return f"the weights in {folder} are the same"


def stored(version: Version, md5: str) -> dict[str, str]:
    """Return name -> md5 of a folder's files, after fetching those that DVC's cache lacks and checking the md5 of each.

    Raises:
        ValueError: a file has another md5 or cannot be fetched.
    """
    files = storage.recorded_files(version.repo, md5)
    for name, expected in files.items():
        path = storage.cached(version.repo, expected)
        if (found := artifacts.md5(path)) != expected:
            raise ValueError(f"{name} has md5 {found} in DVC's cache and was registered with {expected}; delete {path}, and it is fetched again")
    return files


def unchanged(folder: Path, files: Mapping[str, str]) -> str:
    """Say that the files which are in a folder have the md5s of a list.

    Raises:
        ValueError: a file differs.
    """
    present = [name for name in files if (folder / name).is_file()]
    for name in present:
        if (found := artifacts.md5(folder / name)) != files[name]:
            raise ValueError(f"{folder / name} has md5 {found} and was registered with {files[name]}; `dvc checkout` restores it")
    return f"; {folder} is unchanged" if present else ""


def result_here(version: Version, stage: str, folder: Path, kept: Path) -> str:
    """Say that a stage's folder is unchanged, if dvc.lock records it with the file of which the version keeps a copy."""
    md5 = repository.result_md5(version.repo, f"{stage}@{version.concept}")
    if md5 is None or not storage.cached(version.repo, md5).exists():
        return ""
    files = storage.recorded_files(version.repo, md5)
    return unchanged(folder, files) if artifacts.md5(kept) == files.get(kept.name) else ""
