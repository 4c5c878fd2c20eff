"""Importing words from other tools, and the nearest neighbours of a word."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tasks import artifacts
from tasks.concepts.rights import Rights
from tasks.diffusion.base_model import BaseModel, load_base_model
from tasks.diffusion.per_layer import cross_attentions, mean_rows
from tasks.diffusion.words import extend_tokenizer, initializer_rows, nearest_words
from tasks.pictures.names import picture_files
from tasks.pictures.reading import UnusableError, check_file
from tasks.settings import Settings
from tasks.using.add import add_concept, check_new_key
from tasks.words.adapter_file import read_adapter
from tasks.words.formats import WordFile, joined, read_word, short_text
from tasks.words.learned import read_learned

logger = logging.getLogger(__name__)

PICTURES = "concept_images"  # in a folder of the sd-concepts-library
NEAR = 0.95  # cosine from which two words are near-identical


def import_word(
    path: Path,
    name: str | None,
    initializer: str | None,
    kind: str | None,
    pictures: Sequence[Path],
    settings: Settings,
    rights: Rights,
    any_base: bool = False,
    lora: Path | None = None,
) -> str:
    """Add a word of another tool as a concept, which `wordmint build` then samples, scores and registers; return its key.

    path: a file, or a folder of the sd-concepts-library; arguments that are None are read from it. lora: the file of the word's LoRA.
    pictures: files, or folders of them. Nothing is written before everything is checked.

    Raises:
        ValueError: the file has no word for this base model, the key or the word is taken, or there are too few pictures.
    """
    if not path.exists():
        raise ValueError(f"{path} is neither a file nor a folder")
    word = read_word(path)
    key = name or key_of(word.token or path.stem)
    check_new_key(key, settings)
    kind_file = path / "type_of_concept.txt"
    kind = kind or (short_text(kind_file) if kind_file.is_file() else str(word.settings.get("kind", "object")))
    if not pictures and not (path / PICTURES).resolve().is_relative_to(path.resolve()):
        raise ValueError(f"{path / PICTURES} is a link that leads out of {path}; name the pictures with --pictures")
    files = [file for given in pictures or [path / PICTURES] for file in (pictures_in(given) if given.is_dir() else [given])]
    if len(files) < settings.curate.min_images or not all(file.is_file() for file in files):
        missing = ", ".join(str(file) for file in files if pictures and not file.is_file())
        raise ValueError(
            (f"{missing} is no picture file; " if missing else "")
            + f"an imported word is compared with pictures of its concept; give {max(settings.curate.min_images, 3)}-5 of them with --pictures"
        )
    base = load_base_model(*settings.base_model)
    rows = rows_for(base, word, any_base)
    try:
        for encoder in base.text_encoders:
            extend_tokenizer(encoder.tokenizer, {f"<{key}>": len(rows)})
    except ValueError as error:
        raise ValueError(f"<{key}> is already a word of {settings.base.model}; choose another key with --name") from error
    initializer = initializer or word.metadata.get("initializer_token")
    if initializer is None:
        near = ", ".join(text for text, _ in nearest_words(base, mean_rows(rows, sum(base.widths)).mean(0), 5))
        raise ValueError(f"{path} does not say which ordinary word has a similar meaning; give one with --word (the nearest are {near})")
    initializer_rows(base, initializer)
    if lora:
        read_adapter(lora, base.denoiser, f"<{key}>")
    elif "lora_sha256" in word.metadata:
        logger.warning("%s was learned with a LoRA and means something else without it; add it with --lora", path)
    add_concept(key, files, initializer, kind, settings, rights, word.path, lora)
    for other, cosine in near_concepts(mean_rows(rows, sum(base.widths)).mean(0), settings):
        if cosine >= NEAR:
            logger.warning("<%s> is nearly the word of %s: their cosine is %.3f", key, other, cosine)
    return key


def pictures_in(folder: Path) -> list[Path]:
    """Return the pictures of a folder, which a stranger may have filled.

    Raises:
        ValueError: one is no file of this folder; a link would bring a file of this machine into the catalog and to everyone who shares it.
    """
    files = list(picture_files(folder).values())
    for file in files:
        try:
            check_file(file)
        except UnusableError as reason:
            raise ValueError(f"{file} is {reason}; take it out of the folder, or name the pictures one by one") from reason
    return files


def rows_for(base: BaseModel, word: WordFile, any_base: bool) -> Tensor:
    """Return the rows of another tool's word for a base model.

    Raises:
        ValueError: the word was learned on another base model.
    """
    model, layers = str(base.identity["model"]), len(cross_attentions(base.denoiser))
    rows = joined(word, base.widths, model)
    if word.layers not in (1, layers):
        raise ValueError(f"{word.path} has vectors for {word.layers} cross-attention layers, {model} has {layers}; it is another model's word")
    weights = str(base.identity["weights_sha256"])
    learned_on = word.metadata.get("base_weights_sha256", weights)
    if learned_on != weights and not any_base:
        raise ValueError(f"{word.path} was learned on base {learned_on:.12}, this one is {weights:.12}; --any-base imports it anyway")
    return rows


def key_of(token: str) -> str:
    """Return a concept key for a word of another tool: `<Low-Poly HD>` -> `low-poly-hd`."""
    return re.sub(r"[^a-z0-9_-]+", "-", token.lower()).strip("-_")[:63]


def neighbours(concept: str, settings: Settings, count: int) -> dict[str, Any]:
    """Return the words of the catalog and of the base model's vocabulary that are nearest to a concept's mean vector, by cosine.

    Raises:
        ValueError: the concept has no embedding here, or one of another width than the base model's.
    """
    definition, path = settings.concept(concept), artifacts.learned_embeds(concept)
    if not path.exists():
        raise ValueError(f"{concept} has no embedding in {path.parent}; run `wordmint build {concept}` or `dvc pull`")
    base = load_base_model(*settings.base_model)
    row = mean_rows(joined(read_word(path), base.widths, settings.base.model), sum(base.widths)).mean(0)
    catalog = [
        {
            "concept": other,
            "placeholder_token": settings.concept(other).placeholder_token,
            "cosine": round(cosine, 5),
            "near_identical": cosine >= NEAR,
        }
        for other, cosine in near_concepts(row, settings)
        if other != concept
    ]
    vocabulary = [{"word": text, "cosine": round(cosine, 5)} for text, cosine in nearest_words(base, row, count)]
    return {"concept": concept, "placeholder_token": definition.placeholder_token, "catalog": catalog[:count], "vocabulary": vocabulary}


def near_concepts(row: Tensor, settings: Settings) -> list[tuple[str, float]]:
    """Return the concepts that have an embedding of this width here and the cosines of their mean vectors with `row` (dim,), nearest first."""
    means = {}
    for concept in settings.concepts:
        if artifacts.learned_embeds(concept).exists():
            rows = read_learned(artifacts.learned_embeds(concept)).rows
            if rows.shape[1] % len(row) == 0:
                means[concept] = mean_rows(rows, len(row)).mean(0)
    if not means:
        return []
    cosines = torch.cosine_similarity(torch.stack(list(means.values())), row.to("cpu")[None])
    return sorted(zip(means, cosines.tolist(), strict=True), key=lambda pair: -pair[1])
