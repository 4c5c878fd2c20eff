"""What raters send back: checked against the questionnaire's record and kept under data/answers/, which DVC tracks."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks import artifacts
from tasks.people.questionnaire import identity
from tasks.pipeline import receiving, repository, storage


class Filled(BaseModel):
    """The file that a page saves."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    questionnaire: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    code: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,40}$")]
    answers: list[list[int]]
    """For each item, the places of its pictures, the best first."""

    @property
    def rater(self) -> str:
        """The digest of the code, which names files."""
        return hashlib.sha256(self.code.encode()).hexdigest()[:12]


class Answered(NamedTuple):
    """A rater's answers with the record of the questionnaire."""

    filled: Filled
    record: Mapping[str, Any]

    def failed(self) -> tuple[int, int]:
        """Return how many attention checks the rater failed, and how many there were."""
        checks = [(item["right"], order) for item, order in zip(self.record["items"], self.filled.answers, strict=True) if item["right"] is not None]
        return sum(order[0] != right for right, order in checks), len(checks)


def read_answers(path: Path) -> Answered:
    """Read the file of a rater.

    Raises:
        ValueError: the file is not what a questionnaire saves, or does not fit a questionnaire of this catalog.
    """
    try:
        filled = Filled.model_validate_json(path.read_bytes())
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"]))
        raise ValueError(
            f"{path} is not a file that a questionnaire saved: {place and f'{place}: '}{fault['msg']}; ask the rater for the saved file"
        ) from error
    record = read_record(filled.questionnaire, path)
    items = record["items"]
    if len(filled.answers) != len(items):
        raise ValueError(f"{path} has {len(filled.answers)} answers, its questionnaire has {len(items)} items; ask the rater for the saved file")
    for number, (item, order) in enumerate(zip(items, filled.answers, strict=True), start=1):
        if sorted(order) != list(range(len(item["pictures"]))):
            count = len(item["pictures"])
            raise ValueError(f"{path} has {order} for item {number}, which is no order of its {count} pictures; ask the rater for the saved file")
    return Answered(filled, record)


def read_record(questionnaire: str, path: Path) -> dict[str, Any]:
    """Read the record of the questionnaire that a file answers.

    Raises:
        ValueError: the catalog has no such record, or its content is not the one that has this id.
    """
    place = artifacts.questionnaire(questionnaire)
    if not place.exists():
        raise ValueError(f"{path} answers questionnaire {questionnaire}, but {place} is not here; get it through Git from whoever wrote the page")
    try:
        record = artifacts.read_json(place)
    except ValueError:
        record = {}
    if not isinstance(record, dict) or identity(record) != questionnaire:
        raise ValueError(f"{place} was changed after it was written; restore it with `git checkout {place}`")
    return record


def keep(files: Sequence[Path], replace: bool = False) -> tuple[list[str], int]:
    """Keep the answers in files and return the concepts that they are about, and how many files were new. Either all are kept or none.

    replace: take other answers of the same code to the same questionnaire in place of the earlier ones.

    Raises:
        ValueError: a file is not valid, or the same code gave other answers before; or answers that DVC tracks are not on this machine.
    """
    answered = [(path, read_answers(path)) for path in files]
    folders = [artifacts.answers(concept) for concept in dict.fromkeys(concept for _, one in answered for concept in one.record["candidates"])]
    new: dict[Path, bytes] = {}
    with repository.open_repo() as repo:
        complete(repo, folders)
        for path, one in answered:
            data = (json.dumps(one.filled.model_dump(), ensure_ascii=False) + "\n").encode()
            for concept in one.record["candidates"]:
                place = artifacts.answers(concept) / f"{one.filled.questionnaire}-{one.filled.rater}.json"
                present = new.get(place) or (place.read_bytes() if place.exists() and not replace else data)
                if present != data:
                    raise ValueError(
                        f"{path} differs from what code {one.filled.code!r} answered to the same questionnaire before; "
                        "--replace takes this file instead; if it is another rater's, change the code in it"
                    )
                if not place.exists() or place.read_bytes() != data:
                    new[place] = data
        for place, data in new.items():
            artifacts.write_bytes(place, data)
        storage.track(repo, folders)
    return [folder.name for folder in folders], len({place.name for place in new})


def complete(repo: repository.CatalogRepo, folders: Sequence[Path]) -> None:
    """Fetch answers that are not on this machine; DVC would otherwise forget them when it tracks what is.

    Raises:
        ValueError: they cannot be fetched, or the folder is older than what Git names.
    """
    receiving.fetch(repo, folders)
    for folder in folders:
        recorded = storage.recorded_md5(folder)
        missing = [name for name in (storage.recorded_files(repo, recorded) if recorded else ()) if not (folder / name).exists()]
        if missing:
            raise ValueError(f"{folder} lacks {', '.join(missing)}, which {artifacts.pointer(folder)} names; run `wordmint pull` first")


def kept(concept: str) -> list[Answered]:
    """Return the answers about a concept that are kept on this machine, checked again."""
    return [read_answers(path) for path in sorted(artifacts.answers(concept).glob("*.json"))]
