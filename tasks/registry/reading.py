"""Read the registry: one MLflow model `concept.<key>` per concept, with its versions, aliases, tags and history."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import artifacts

if TYPE_CHECKING:  # mlflow takes seconds to import, and stages that do not publish never need it
    from mlflow.entities.model_registry import ModelVersion
from tasks.registry.connection import EXPERIMENT, PREFIX, model_name, pages
from tasks.registry.promotion import SCORES

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
STORED = "artifacts/learned_embeds.safetensors"  # its path among a model's artifacts
SHEETS = "samples"  # their folder among a run's artifacts
HISTORY = "history."  # the prefix of a model's history tags; the rest of the key is the time
REVOKED = "revoked"  # a tag of a model and of its versions
FEW = 20  # concepts; asking for each of them is quicker than reading a registry of hundreds


@dataclass(frozen=True)
class Entry:
    """What the registry knows of a concept beside its versions, read at once. writing.py keeps it in step with what it writes."""

    concept: str
    tags: dict[str, str]
    """The tags of its model: its history, and whether it is revoked."""
    aliases: dict[str, int]
    """Alias -> the version that it reaches, sorted."""
    newest: int
    """The greatest number among its versions; 0 if it has none."""
    description: str | None
    """The text on its model's page; None if it has no model, which a first version creates."""

    @property
    def revocation(self) -> dict[str, Any] | None:
        """{at, why, aliases} of a revoked concept, where `aliases` are those that it lost; None if it is not revoked."""
        return json.loads(self.tags[REVOKED]) if REVOKED in self.tags else None

    @property
    def events(self) -> list[dict[str, Any]]:
        """The lines of its history, oldest first."""
        return [json.loads(line) for key, line in sorted(self.tags.items()) if key.startswith(HISTORY)]

    def refuse_revoked(self) -> None:
        """Stop at a revoked concept.

        Raises:
            ValueError: the concept is revoked; the text says why.
        """
        if mark := self.revocation:
            why = f"concept {self.concept!r} was revoked on {mark['at'][:10]}: {mark['why']}"
            raise ValueError(f"{why}; `wordmint reinstate {self.concept}` brings it back")


def entry(concept: str) -> Entry:
    """Read what the registry knows of a concept; a concept without a model has an empty entry."""
    import mlflow

    try:
        model = mlflow.MlflowClient().get_registered_model(model_name(concept))  # half the time of a search
    except mlflow.exceptions.MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return Entry(concept, {}, {}, 0, None)
    reached = {alias: int(number) for alias, number in sorted(model.aliases.items())}
    newest = max((int(version.version) for version in model.latest_versions), default=0)
    return Entry(concept, dict(model.tags), reached, newest, model.description or "")


def find_version(concept: str, digest: str) -> "ModelVersion | None":
    """Return the oldest version of a concept whose learned embedding has this SHA-256."""
    import mlflow

    matches = pages(mlflow.MlflowClient().search_model_versions, f"name = '{model_name(concept)}' and tags.digest = '{digest}'")
    return min(matches, key=lambda version: int(version.version), default=None)


def aliases(concept: str) -> dict[str, int]:
    """Return the version that each alias of a concept reaches."""
    return entry(concept).aliases


def tags(concept: str, version: int) -> dict[str, str]:
    import mlflow

    return dict(mlflow.MlflowClient().get_model_version(model_name(concept), str(version)).tags)


def standing(concept: str, version: int) -> dict[str, Any]:
    """Return {aliases} of a version, sorted, with `revoked` and why, or with `held_back` and why it is no champion where there is none."""
    known = entry(concept)
    found: dict[str, Any] = {"aliases": [alias for alias, number in known.aliases.items() if number == version]}
    if gone := known.revocation:
        found["revoked"] = gone["why"]
    elif CHAMPION not in known.aliases and known.aliases.get(CHALLENGER) == version:
        found["held_back"] = tags(concept, version).get("decision_reason", "")
    return found


def revocation(concept: str) -> dict[str, Any] | None:
    return entry(concept).revocation


def revoked(concepts: Sequence[str]) -> dict[str, str]:
    """Return revoked concept -> why; it may have others than those that are asked for."""
    import mlflow

    models = [model for models in filters(concepts) for model in pages(mlflow.MlflowClient().search_registered_models, models)]
    return {model.name.removeprefix(PREFIX): json.loads(model.tags[REVOKED])["why"] for model in models if REVOKED in model.tags}


def filters(concepts: Sequence[str]) -> list[str]:
    """Return the filters that find the models of concepts: one each for a few, else one for the models of all concepts."""
    return [f"name = '{model_name(concept)}'" for concept in concepts] if len(concepts) <= FEW else [f"name LIKE '{PREFIX}%'"]


def events(concept: str) -> list[dict[str, Any]]:
    return entry(concept).events


def moment(milliseconds: int) -> str:
    """Return MLflow's time, in ms since 1970, as ISO 8601 in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")


def described(concept: str) -> list[dict[str, Any]]:
    """Return what `descriptions` does of a concept."""
    return descriptions(entry(concept))


def descriptions(known: Entry) -> list[dict[str, Any]]:
    """Return {version, created, aliases, tags} of every version of a concept whose entry was read, oldest first."""
    found = []
    for version in minted(f"name = '{model_name(known.concept)}'"):
        number = int(version.version)
        names = [alias for alias, target in known.aliases.items() if target == number]
        found.append({"version": number, "created": moment(version.creation_timestamp), "aliases": names, "tags": dict(version.tags)})
    return found


def minted(models: str) -> list["ModelVersion"]:
    """Return the versions that wordmint published of the models that match a filter, sorted by model and version."""
    import mlflow

    matches = pages(mlflow.MlflowClient().search_model_versions, models)
    return sorted((version for version in matches if "digest" in version.tags), key=lambda version: (version.name, int(version.version)))


def minted_of(concepts: Sequence[str]) -> list["ModelVersion"]:
    """Return the versions of concepts; it may have others too."""
    return [version for models in filters(concepts) for version in minted(models)]


def catalog() -> list[dict[str, Any]]:
    """Return a row for every alias of every concept, sorted by concept and version; see `rows`."""
    return [row for row in rows(f"name LIKE '{PREFIX}%'") if row["alias"]]


def versions(concept: str) -> list[dict[str, Any]]:
    """Return a row for every version of a concept, oldest first; a version that no alias reaches has the alias None."""
    return rows(f"name = '{model_name(concept)}'")


def rows(models: str) -> list[dict[str, Any]]:
    """Return {concept, placeholder_token, version, alias, and each score or None} per version and alias of the models that match."""
    import mlflow

    reached: dict[tuple[str, int], list[str]] = {}
    for model in pages(mlflow.MlflowClient().search_registered_models, models):
        for alias, number in sorted(model.aliases.items()):
            reached.setdefault((model.name, int(number)), []).append(alias)
    entries = []
    for version in minted(models):
        for alias in reached.get((version.name, int(version.version)), [None]):
            entries.append(
                {
                    "concept": version.name.removeprefix(PREFIX),
                    "placeholder_token": version.tags["placeholder_token"],
                    "version": int(version.version),
                    "alias": alias,
                    **{name: float(version.tags[name]) if version.tags.get(name) else None for name in SCORES},
                }
            )
    return entries


def refuse_revoked(concept: str) -> None:
    """Stop at a revoked concept, as `Entry.refuse_revoked` does."""
    entry(concept).refuse_revoked()


def published(concept: str, which: str = CHAMPION) -> tuple[Path, dict[str, str]]:
    """Return the local path of the learned embedding of a version, named by an alias or as `v3`, and the version's tags.

    Raises:
        ValueError: the concept is revoked or has no such version, or the stored bytes are not those that were registered.
    """
    refuse_revoked(concept)
    numbers = aliases(concept)
    if which not in numbers:
        numbers = {f"v{row['version']}": int(row["version"]) for row in versions(concept)} | numbers
    if which in numbers:
        return fetch(concept, numbers[which])
    if which == CHAMPION and CHALLENGER in numbers:
        reason = standing(concept, numbers[CHALLENGER])["held_back"]
        raise ValueError(f"concept {concept!r} has no champion, because v{numbers[CHALLENGER]} is held back: {reason}")
    raise ValueError(f"concept {concept!r} has no {which} in {EXPERIMENT}'s registry; run `wordmint build {concept}`")


def fetch(concept: str, number: int) -> tuple[Path, dict[str, str]]:
    """Return the local path of the learned embedding of a version, and the version's tags.

    Raises:
        ValueError: the stored bytes are not those that were registered.
    """
    import mlflow

    name, recorded = model_name(concept), tags(concept, number)
    path = Path(mlflow.artifacts.download_artifacts(f"models:/{name}/{number}/{Path(STORED).parent}")) / Path(STORED).name
    if (stored := artifacts.sha256(path)) != recorded.get("digest"):
        raise ValueError(f"{name} version {number} was registered with SHA-256 {recorded.get('digest')}, but {path} has {stored}")
    return path, recorded


def training(concept: str, number: int, folder: Path) -> tuple[dict[str, str], dict[str, str], list[Path]]:
    """Return the settings that a version was trained with, its picture set as {name, digest, source}, and its sample sheets.

    The sheets are downloaded to `folder`; an older version may have none.
    """
    import mlflow

    client = mlflow.MlflowClient()
    model = client.get_logged_model(model_id(client.get_model_version(model_name(concept), str(number))))
    run: Any = client.get_run(str(model.source_run_id))
    datasets = [entry.dataset for entry in run.inputs.dataset_inputs]
    pictures = {key: str(getattr(datasets[0], key)) for key in ("name", "digest", "source")} if datasets else {}
    sheets: list[Path] = []
    if any(entry.path == SHEETS for entry in client.list_artifacts(run.info.run_id)):
        sheets = sorted(Path(client.download_artifacts(run.info.run_id, SHEETS, str(folder))).iterdir())
    return dict(model.params), pictures, sheets


def model_id(version: "ModelVersion") -> str:
    """Return the id of the LoggedModel that a version was made from."""
    return str(version.source).removeprefix("models:/")
