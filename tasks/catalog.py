"""What a person does with a catalog besides building it: add a concept, imagine with its words."""

import logging
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ruamel.yaml import YAML

from tasks import artifacts, versioning
from tasks.settings import Settings, check_concept_key, load_settings, parse_settings, tracking_uri

if TYPE_CHECKING:  # torch takes seconds to import, and adding a concept needs none of it
    from torch import Tensor

logger = logging.getLogger(__name__)

STAGES = ("curate", "invert", "sample", "score", "register")
"""The stages of a concept in the graph's order."""


def add_concept(
    name: str,
    pictures: Sequence[Path],
    word: str,
    kind: str,
    settings: Settings,
    source: Path | None = None,
    params: Path = Path("params.yaml"),
) -> None:
    """Copy a concept's pictures, put them under DVC and add it to params.yaml, whose comments stay.

    source: the file that an imported word is in; it is copied too. Nothing is written before everything is checked.

    Raises:
        ValueError: the key or its word is not valid or taken, a picture is not a file, or two have the same name.
    """
    check_new_key(name, settings)
    for picture in pictures:
        if not picture.is_file():
            raise ValueError(f"picture {picture} is not a file")
    if len({picture.name for picture in pictures}) < len(pictures):
        raise ValueError("two pictures have the same file name; rename one of them")
    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 200
    document = yaml.load(params)
    document["concepts"][name] = {"kind": kind, "placeholder_token": f"<{name}>", "initializer_token": word}
    if source:
        file = re.sub(r"[^A-Za-z0-9._-]+", "-", source.name).lstrip(".") or "word"
        document["concepts"][name]["source"] = {"file": file, "sha256": artifacts.sha256(source)}
    parse_settings(document, params)
    if source:
        artifacts.write_bytes(artifacts.imported(name) / file, source.read_bytes())
    with artifacts.new_folder(artifacts.images(name)) as folder:
        for picture in pictures:
            shutil.copy(picture, folder / picture.name)
    with versioning.open_repo() as repo:
        versioning.track_inputs(repo, name)
    temporary = params.with_name(f".{params.name}.tmp")
    yaml.dump(document, temporary)
    temporary.replace(params)


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
    if name in settings.concepts or artifacts.images(name).exists() or artifacts.imported(name).exists():
        raise ValueError(f"concept {name!r} exists already; choose another key, or add pictures to {artifacts.images(name)}")
    for key, concept in settings.concepts.items():
        if concept.placeholder_token == f"<{name}>":
            raise ValueError(f"<{name}> is the word of concept {key!r} already; choose another key")


def imagine_pictures(prompt: str, words: Sequence[str], number: int, seed: int, out: Path, settings: Settings, any_base: bool = False) -> list[Path]:
    """Generate pictures of a prompt with the champions of its words; return the paths, named by the prompt and the seeds.

    Raises:
        ValueError: no concept has such a word, or a word was learned on another base model; `any_base` turns the latter into a warning.
    """
    from tasks import registry
    from tasks.diffusion.base_model import load_base_model
    from tasks.diffusion.ddim import generate
    from tasks.inversion.embedding_file import lora_of, read_rows
    from tasks.inversion.pivotal import adapted
    from tasks.sample import save_pictures

    owners = {concept.placeholder_token: key for key, concept in settings.concepts.items()}
    for word in words:
        if word not in owners:
            raise ValueError(f"{word} is no word of this catalog; it has {' '.join(owners)}")
    base = load_base_model(settings.base.model, settings.base.revision, settings.runtime.device)
    registry.connect(tracking_uri(settings))
    learned: dict[str, Tensor] = {}
    loras: list[Path] = []
    for word in dict.fromkeys(words):
        path, tags = registry.published(owners[word])
        if tags["base_weights_sha256"] != base.identity["weights_sha256"]:
            said = f"{word} was learned on base {tags['base_weights_sha256'][:12]}, this one is {base.identity['weights_sha256']:.12}"
            if not any_base:
                raise ValueError(f"{said}; rebuild it, or try it with --any-base")
            logger.warning("%s; what it means here is anybody's guess", said)
        learned |= read_rows(path)
        loras += lora_of(path)
    seeds = list(range(seed, seed + number))
    rules, batch_size = settings.sample, settings.runtime.pictures_per_batch
    with adapted(base, loras):
        pictures = list(generate(base, [prompt] * number, seeds, learned, rules.num_inference_steps, rules.guidance_scale, batch_size))
    folder = out / re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:80]
    save_pictures(folder, pictures, seeds, {"prompt": prompt, "model": base.identity["model"]})
    return [folder / f"{seed:06d}.png" for seed in seeds]
