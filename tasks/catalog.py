"""What a person does with a catalog besides building it: add a concept, imagine with its words."""

import logging
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from filelock import FileLock
from ruamel.yaml import YAML

from tasks import artifacts, versioning
from tasks.rights import Rights, write_rights
from tasks.settings import Settings, check_concept_key, load_settings, parse_settings, tracking_uri

if TYPE_CHECKING:  # torch takes seconds to import, and adding a concept needs none of it
    from torch import Tensor

    from tasks.diffusion.base_model import BaseModel

logger = logging.getLogger(__name__)

STAGES = ("curate", "invert", "sample", "score", "register")
"""The stages of a concept in the graph's order."""


def add_concept(
    name: str,
    pictures: Sequence[Path],
    word: str,
    kind: str,
    settings: Settings,
    rights: Rights,
    source: Path | None = None,
    params: Path = Path("params.yaml"),
) -> None:
    """Copy a concept's pictures, put them under DVC and add it to params.yaml, whose comments stay.

    source: the file that an imported word is in; it is copied too. Nothing is written before everything is checked.

    Raises:
        ValueError: the key or its word is not valid or taken, it is not said whose the pictures are, a picture is not a file, or two have
            the same name.
    """
    check_new_key(name, settings)
    if missing := rights.missing():
        options = ", ".join(f"--{field}" for field in missing)
        raise ValueError(f"the pictures of {name!r} need {options}; where one is not known, say why with --undeclared")
    for picture in pictures:
        if not picture.is_file():
            raise ValueError(f"picture {picture} is not a file")
    if len({picture.name for picture in pictures}) < len(pictures):
        raise ValueError("two pictures have the same file name; rename one of them")
    entry: dict[str, Any] = {"kind": kind, "placeholder_token": f"<{name}>", "initializer_token": word}
    file = re.sub(r"[^A-Za-z0-9._-]+", "-", source.name).lstrip(".") or "word" if source else ""
    if source:
        entry["source"] = {"file": file, "sha256": artifacts.sha256(source)}
    declared(name, entry, params)
    try:
        if source:
            artifacts.write_bytes(artifacts.imported(name) / file, source.read_bytes())
        with artifacts.new_folder(artifacts.images(name)) as folder:
            for picture in pictures:
                shutil.copy(picture, folder / picture.name)
        write_rights(artifacts.rights(name), rights)
        with versioning.open_repo() as repo:
            versioning.track_inputs(repo, [name])
        with FileLock(artifacts.CACHE / "params.lock"):  # params.yaml is read again: it may have been edited, or added to, meanwhile
            yaml, document = declared(name, entry, params)
            edited = BytesIO()
            yaml.dump(document, edited)
            artifacts.write_bytes(params, edited.getvalue())
    except BaseException:  # the key stays free
        for folder in (artifacts.images(name), artifacts.imported(name)):
            shutil.rmtree(folder, ignore_errors=True)
            artifacts.pointer(folder).unlink(missing_ok=True)
        artifacts.rights(name).unlink(missing_ok=True)
        raise


def declared(name: str, entry: Mapping[str, Any], params: Path) -> tuple[YAML, Any]:
    """Return params.yaml as a document, comments and all, with one more concept, and what writes it.

    Raises:
        ValueError: it would not be valid.
    """
    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 200
    document = yaml.load(params)
    document["concepts"][name] = dict(entry)
    parse_settings(document, params)
    return yaml, document


def keep_record(concept: str) -> None:
    """Write the aliases that a concept's version has now into its record under data/, and tell DVC, for which it was up to date.

    A concept without a record, one that this machine never registered, has none to keep.
    """
    from tasks import registry

    path = artifacts.registered(concept)
    if not path.exists():
        return
    before = artifacts.read_json(path)
    record = {key: before[key] for key in ("name", "version", "digest")}
    record["aliases"] = [alias for alias, number in registry.aliases(concept).items() if number == before["version"]]
    if gone := registry.revocation(concept):
        record["revoked"] = gone["why"]
    if record == before:
        return
    stage = f"register@{concept}"
    with versioning.open_repo() as repo:
        if concept not in load_settings().concepts or versioning.why(repo, stage):  # a build writes it anyway
            artifacts.write_json(path, record)
        else:
            with versioning.recording(repo, stage):
                artifacts.write_json(path, record)


def check_new_key(name: str, settings: Settings) -> None:
    """Check that a key is valid, and that neither it nor its word is taken.

    Raises:
        ValueError: one of these is not so.
    """
    check_concept_key(name)
    folders = (artifacts.images(name), artifacts.imported(name))
    if name in settings.concepts or any(folder.exists() or artifacts.pointer(folder).exists() for folder in folders):
        raise ValueError(f"concept {name!r} exists already; choose another key, or add pictures to {artifacts.images(name)}")
    for key, concept in settings.concepts.items():
        if concept.placeholder_token == f"<{name}>":
            raise ValueError(f"<{name}> is the word of concept {key!r} already; choose another key")


def words_in(prompt: str) -> list[str]:
    """Return the new words of a prompt, each once."""
    return list(dict.fromkeys(re.findall(r"<[^<>\s]+>", prompt)))


def owners_of(words: Sequence[str], settings: Settings) -> dict[str, str]:
    """Return the concept of each word.

    Raises:
        ValueError: no concept has such a word.
    """
    owners = {concept.placeholder_token: key for key, concept in settings.concepts.items()}
    for word in words:
        if word not in owners:
            raise ValueError(f"{word} is no word of this catalog; it has {' '.join(owners)}")
    return {word: owners[word] for word in words}


@contextmanager
def champions(words: Sequence[str], base: "BaseModel", settings: Settings, any_base: bool = False) -> "Iterator[dict[str, Tensor]]":
    """Give placeholder -> rows (vectors, dim) of the champions of words; the denoiser is tuned while the block runs, if one of them is.

    Raises:
        ValueError: no concept has such a word, or a word was learned on another base model; `any_base` turns the latter into a warning.
    """
    from tasks import registry
    from tasks.inversion.embedding_file import lora_of, read_rows
    from tasks.inversion.pivotal import adapted

    owners = owners_of(words, settings)
    learned: dict[str, Tensor] = {}
    loras: list[Path] = []
    if owners:
        registry.connect(tracking_uri(settings))
    for word, owner in owners.items():
        path, tags = registry.published(owner)
        if tags["base_weights_sha256"] != base.identity["weights_sha256"]:
            said = f"{word} was learned on base {tags['base_weights_sha256'][:12]}, this one is {base.identity['weights_sha256']:.12}"
            if not any_base:
                raise ValueError(f"{said}; rebuild it, or try it with --any-base")
            logger.warning("%s; what it means here is anybody's guess", said)
        learned |= read_rows(path)
        loras += lora_of(path)
    with adapted(base, loras):
        yield learned


class Imagined(NamedTuple):
    """A picture that was generated."""

    seed: int
    path: Path | None
    """None where it is not among the best."""
    agreement: dict[str, float]
    """Its cosines with the text, and with the pictures of each word, where candidates are ranked."""


def imagine_pictures(
    prompt: str, number: int, seed: int, out: Path, settings: Settings, any_base: bool = False, candidates: int | None = None
) -> list[Imagined]:
    """Generate pictures of a prompt with the champions of its words; the files are named by the prompt and the seeds.

    candidates: how many to draw and rank, of which the best `number` are kept and the best stands first; None keeps all that are drawn.

    Raises:
        ValueError: see `champions`; fewer candidates than are to be kept, or a word without pictures to rank by.
    """
    from tasks.diffusion.base_model import load_base_model
    from tasks.diffusion.ddim import generate
    from tasks.ranking import agreements, best_first
    from tasks.sample import save_pictures

    if candidates is not None and candidates < number:
        raise ValueError(f"{number} pictures cannot be kept of {candidates} candidates; raise --candidates or lower --keep")
    words = words_in(prompt)
    owners = owners_of(words, settings)
    base = load_base_model(settings.base.model, settings.base.revision, settings.runtime.device)
    seeds = list(range(seed, seed + (candidates or number)))
    rules, batch_size = settings.sample, settings.runtime.pictures_per_batch
    with champions(words, base, settings, any_base) as learned:
        pictures = list(generate(base, [prompt] * len(seeds), seeds, learned, rules.num_inference_steps, rules.guidance_scale, batch_size))
    agreement = agreements(pictures, prompt, owners, settings) if candidates else [{} for _ in seeds]
    order = best_first(agreement)
    kept, folder = order[:number], out / prompt_folder(prompt)
    info = {"prompt": prompt, "model": base.identity["model"]}
    save_pictures(folder, [pictures[index] for index in kept], [seeds[index] for index in kept], info)
    return [Imagined(seeds[index], folder / f"{seeds[index]:06d}.png" if index in kept else None, agreement[index]) for index in order]


def prompt_folder(prompt: str) -> str:
    """Return the name of the folder for the pictures of a prompt, its words included."""
    return re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:80]
