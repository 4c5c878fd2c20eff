"""Exporting words to other tools."""

import logging
from collections.abc import Mapping
from pathlib import Path

from diffusers import DiffusionPipeline

from tasks import artifacts
from tasks.diffusion.base_model import model_folder, weights_sha256
from tasks.diffusion.changes import Changes, Difference, Gated, extracted, merge
from tasks.diffusion.families import family_of
from tasks.registry import connection, reading
from tasks.registry.connection import tracking_uri
from tasks.settings import Settings
from tasks.using.exchange import PICTURES
from tasks.words.adapter_file import PEFT, adapter_bytes, owner_of
from tasks.words.embedding_file import ADAPTERS, layers_in
from tasks.words.formats import FOLDERS, FORMATS, XTI, WordFile, read_word
from tasks.words.joined_layers import joined_layers
from tasks.words.learned import read_learned

logger = logging.getLogger(__name__)

EXPORTED = Path("exported")
PIPELINE = "pipeline"
"""The format that is a whole diffusers folder: the base model with the word and its changes in it."""
LORA = "_lora.safetensors"  # the end of the name of an exported word's adapter


def export_word(reference: str, style: str, out: Path | None, settings: Settings, rank: int | None = None) -> Path:
    """Write a registered word in the format of another tool and return the file or folder; its adapter, if it has one, lies beside it.

    reference: `fox` is its champion; `fox@challenger` and `fox@v3` are others. style: a key of FORMATS, or PIPELINE.
    out: a file or a folder, by default below exported/. Some tools take the file's stem as the word.
    rank: writes the difference of a tuned denoiser as the nearest LoRA of this rank.

    Raises:
        ValueError: there is no such version or format, the format has no layout for this word, or `out` has another extension or is a folder
            that is not empty.
    """
    concept, _, which = reference.partition("@")
    if style not in (*FORMATS, PIPELINE):
        raise ValueError(f"format {style!r} is unknown; choose one of {', '.join((*FORMATS, PIPELINE))}")
    if not connection.exists(tracking_uri(settings)):
        raise ValueError(f"nothing is registered yet, so there is no {concept!r} to export; run `wordmint build {concept}`")
    connection.connect(tracking_uri(settings))
    path, tags = reading.published(concept, which or reading.CHAMPION)
    word = read_word(path)._replace(token=tags["placeholder_token"])
    adapter = read_learned(path).adapter
    if rank is not None:
        if not adapter or not all(isinstance(change, Difference) for change in adapter.values()):
            raise ValueError(f"{concept} has no denoiser tuned by DreamBooth to make a LoRA of; leave --rank out")
        adapter, lost = extracted(adapter, rank)
        logger.warning("The LoRA of rank %d lacks %.0f %% of the difference of %s", rank, 100 * lost, concept)
    if style == PIPELINE:
        return write_pipeline(concept, path, tags, adapter, out or EXPORTED / style / concept, settings)
    check_layouts(concept, word, adapter, style)
    if style in FOLDERS:
        return write_folder(word, concept, style, out or EXPORTED / style / concept, adapter, tags)
    folder, stem = (EXPORTED / style, concept) if out is None else (out, concept) if out.is_dir() else (out.parent, out.stem)
    ((name, data),) = FORMATS[style](word, stem).items()
    if out and folder != out and out.name != name:
        raise ValueError(f"{style} keeps this word in a {Path(name).suffix} file; call it {folder / name}")
    lora = folder / f"{stem}{LORA}"
    if adapter:
        artifacts.write_bytes(lora, adapter_bytes(adapter, style, architecture_of(word)))
    else:
        lora.unlink(missing_ok=True)  # of an earlier version
    artifacts.write_bytes(folder / name, data)
    return folder / name


def architecture_of(word: WordFile) -> str:
    """Return the base model's name in ModelSpec, as the catalog's own files say it."""
    return word.metadata.get("modelspec.architecture", "").partition("/")[0]


def check_layouts(concept: str, word: WordFile, adapter: Changes, style: str) -> None:
    """Check that a format has a layout for a word and its adapter.

    Raises:
        ValueError: it has none.
    """
    if any(isinstance(change, Gated) for change in adapter.values()):
        raise ValueError(f"{concept} has gated changes, which no other tool reads; `wordmint imagine` and its MLflow version draw it")
    if style == "kohya" and adapter and owner_of(adapter) == "transformer" and not joined_layers(architecture_of(word), adapter):
        raise ValueError(f"{concept} changes a transformer that kohya's scripts do not know; export it as --format diffusers or comfyui")
    if style in PEFT and any(isinstance(change, Difference) for change in adapter.values()):
        raise ValueError(
            f"{concept} has the difference of a whole denoiser, for which {style} has no layout; export it as --format {PIPELINE},"
            " or take a LoRA of it with --rank 16"
        )
    if word.layers > 1 and (style != "kohya" or (word.layers, len(word.parts)) != (len(XTI), 1)):
        raise ValueError(
            f"{concept} has vectors of its own for each of {word.layers} cross-attention layers, which {style} has no layout for;"
            f" kohya's scripts read the {len(XTI)} of Stable Diffusion 1 and 2"
        )


def write_pipeline(concept: str, embedding: Path, tags: Mapping[str, str], adapter: Changes, out: Path, settings: Settings) -> Path:
    """Write the base model with a word in its vocabulary and the word's changes in its weights, a folder that any diffusers pipeline loads.

    Raises:
        ValueError: params.yaml names another base model, the changes are no weights, or `out` is a file or a folder that is not empty.
    """
    from tasks.registry.registered_model import teach

    check_free(out)
    folder = model_folder(settings.base.model, settings.base.revision)
    if weights_sha256(folder) != tags["base_weights_sha256"]:
        raise ValueError(f"{concept} was learned on {tags['base_model']}, and base.model in params.yaml has other weights; set it back")
    if layers_in(embedding) > 1 or any(isinstance(change, Gated) for change in adapter.values()):
        raise ValueError(
            f"{concept} has vectors for each layer or gated changes, which a diffusers pipeline cannot store; draw it with `wordmint imagine`"
        )
    family = family_of(DiffusionPipeline.load_config(folder), settings.base.model)
    pipeline = family.load(folder, {})
    for layer, change in adapter.items():
        merge(getattr(pipeline, family.denoiser).get_submodule(layer), change)
    teach(pipeline, str(embedding), tags["placeholder_token"])
    with artifacts.new_folder(out) as written:
        pipeline.save_pretrained(written)
    return out


def check_free(out: Path) -> None:
    """Check that a folder can be written.

    Raises:
        ValueError: it is a file, or a folder that is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} exists already; remove it or choose another place with --out")


def write_folder(word: WordFile, concept: str, style: str, out: Path, adapter: Changes, tags: Mapping[str, str]) -> Path:
    """Write a format that is a folder, with the word's adapter, if it has one, and its curated pictures, whose metadata curate removed.

    tags: those of the version. Pictures that it was not learned from are left out.

    Raises:
        ValueError: `out` is a file, or a folder that is not empty.
    """
    check_free(out)
    curated = artifacts.curated(concept)
    pictures = sorted(curated.glob("*.png"))
    if pictures and "imported_digest" not in tags and artifacts.folder_digest(curated, "*.png") != tags.get("pictures_sha256"):
        logger.warning("This version of %s was learned from other pictures than those in %s, so none are in the export", concept, curated)
        pictures = []
    with artifacts.new_folder(out) as folder:
        for name, data in FORMATS[style](word, concept).items():
            artifacts.write_bytes(folder / name, data)
        if adapter:
            artifacts.write_bytes(folder / ADAPTERS["lora"], adapter_bytes(adapter, style, architecture_of(word)))
        for number, picture in enumerate(pictures):
            artifacts.write_bytes(folder / PICTURES / f"{number}.png", picture.read_bytes())
    return out
