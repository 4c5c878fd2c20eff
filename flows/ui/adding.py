"""Adding a concept from a browser: each picture is judged as the curate stage would judge it, then all goes through `add_concept`."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from flows.ui.imports import import_models
from flows.ui.uploads import upload
from tasks.concepts.captions import MOST_WORDS, read_captions, read_contexts
from tasks.concepts.picture_set import read_and_screen
from tasks.concepts.rights import Rights
from tasks.documents import as_yaml
from tasks.inversion.options import FROM_PICTURES
from tasks.pictures.names import output_names
from tasks.pictures.reading import FORMATS
from tasks.settings import Settings
from tasks.using.add import add_concept

SUFFIXES = {"JPEG": "jpg", "JPEG2000": "jp2", "MPO": "jpg", "TIFF": "tif"}
COARSE_WORDS, CONTEXT_WORDS = 6, 3  # suggestions for a concept, and for a picture
Line = Annotated[str, Field(max_length=500)]


class SentPicture(BaseModel):
    """A picture of a new concept."""

    model_config = ConfigDict(extra="forbid")

    id: str
    name: Line
    """The client's name for it; only its letters reach the disk."""
    context: Line = ""
    """What else the picture shows."""


class NewConcept(BaseModel):
    """A concept that a person adds."""

    model_config = ConfigDict(extra="forbid")

    name: str
    word: Line = ""
    kind: Literal["object", "style"] = "object"
    pictures: list[SentPicture] = Field(max_length=200)
    source: Line = ""
    licence: Line = ""
    consent: Line = ""
    undeclared: Line = ""
    short: Line = ""
    long: Line = ""
    """What a person would say in place of the word."""


def judge(pictures: Sequence[SentPicture], settings: Settings) -> dict[str, dict[str, str]]:
    """Return id -> {why, like}: why the curate stage would drop a picture of this set, and the id of the one that it repeats; each may be ""."""
    import_models()
    from tasks.diffusion.base_model import base_resolution

    files = {picture.id: upload(picture.id) for picture in pictures}
    resolution = base_resolution(settings.base.model, settings.base.revision, settings.base.resolution)
    _, _, dropped = read_and_screen(files, resolution, settings)
    names = {picture.id: picture.name for picture in pictures}
    reasons = {key: dropped.get(key, "") for key in files}
    return {key: {"why": told(reason, names), "like": next((other for other in files if other in reason), "")} for key, reason in reasons.items()}


def told(reason: str, names: dict[str, str]) -> str:
    """Return a reason with the person's own names for the pictures that it names."""
    for key, name in names.items():
        reason = reason.replace(key, name)
    return reason


def add(new: NewConcept, settings: Settings) -> None:
    """Add a concept with the pictures that were sent; raise what `add_concept` raises."""
    rights = Rights(source=new.source, licence=new.licence, consent=new.consent, undeclared=new.undeclared)
    with tempfile.TemporaryDirectory() as folder:
        files, contexts = [], dict[str, str]()
        for picture, stem in zip(new.pictures, unique_stems([picture.name for picture in new.pictures]), strict=True):
            path = Path(folder) / f"{stem}.{suffix(upload(picture.id))}"
            shutil.copyfile(upload(picture.id), path)
            files.append(path)
            if context := " ".join(picture.context.split()):
                contexts[path.name] = context
        captions = {kind: text for kind in MOST_WORDS if (text := " ".join(getattr(new, kind).split()))}
        if further := captions | ({"context": contexts} if contexts else {}):
            files.append(Path(folder) / "captions.yaml")
            files[-1].write_text(as_yaml(further), encoding="utf-8")
            check_captions(files[-1], list(contexts))
        add_concept(new.name, files, new.word or FROM_PICTURES, new.kind, settings, rights)


def check_captions(path: Path, pictures: Sequence[str]) -> None:
    """Raise a ValueError if the curate stage or a training would refuse a captions.yaml: the app has no page on which it could be mended later."""
    try:
        read_captions(path.parent)
        read_contexts(path.parent, pictures)
    except ValueError as error:
        raise ValueError(str(error).removeprefix(f"{path}: ")) from error


def unique_stems(names: Sequence[str]) -> list[str]:
    """Return a file name without extension for each name, in plain letters; no two are the same."""
    return [Path(stem).stem for stem in output_names([f"{number}/{name}" for number, name in enumerate(names)]).values()]


def suffix(path: Path) -> str:
    """Return the extension for a picture's format."""
    with Image.open(path, formats=FORMATS) as image:
        name = image.format or "PNG"
    return SUFFIXES.get(name, name.lower())


def suggested_words(ids: Sequence[str], settings: Settings) -> dict[str, Any]:
    """Return words that CLIP sees in pictures as {concept, pictures}.

    concept: {word, cosine} of those nearest to all pictures, the nearest first. pictures: id -> words that tell a picture from the others.
    """
    import_models()
    from tasks.using.coarse_words import nearest, seen, telling

    words, cosines = seen([upload(key) for key in ids], settings)
    common = [{"word": word, "cosine": cosine} for word, cosine in nearest(words, cosines, COARSE_WORDS)]
    return {"concept": common, "pictures": dict(zip(ids, telling(words, cosines, CONTEXT_WORDS), strict=True))}
