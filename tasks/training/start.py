"""The start of the invert stage: a concept's settings and curated pictures become a training and the record of what decides its result."""

from collections.abc import Collection, Sequence
from importlib.metadata import version
from typing import Any

from PIL import Image
from torch import Tensor

from tasks import artifacts
from tasks.diffusion.base_model import BaseModel
from tasks.diffusion.ddim import encode
from tasks.diffusion.templates import TEMPLATES
from tasks.inversion.methods import method
from tasks.inversion.picking import probed
from tasks.inversion.training import Training, new_training
from tasks.pipeline.graph import edition
from tasks.settings import Settings
from tasks.words.learned import read_learned


def rounds(concepts: Sequence[str], settings: Settings) -> list[list[str]]:
    """Return concepts in the order in which they can be trained: one that starts as another of them comes in a round after it."""

    def number(concept: str) -> int:
        other = settings.origin(concept)
        return 1 + number(other) if other and other in concepts else 0

    numbers = {concept: number(concept) for concept in concepts}
    return [[concept for concept in concepts if numbers[concept] == turn] for turn in range(max(numbers.values(), default=-1) + 1)]


def prepare(concept: str, settings: Settings, base: BaseModel, failed: Collection[str] = ()) -> Training:
    """Encode the curated pictures once and set up the concept's training.

    Raises:
        ValueError: the concept cannot start or be trained as params.yaml says; `failed` are those that none can start as.
    """
    entries = kept(concept)
    pictures = [Image.open(artifacts.curated(concept) / entry["file"]) for entry in entries]
    chosen, rules = settings.concept(concept), settings.inversion(concept)
    flat = {name: value for name, value in rules if name not in ("method", "options", "pick")}
    other = settings.origin(concept)
    start = chosen.initializer_token if other is None else rows_of(other, concept, base, failed)
    flat["contexts"] = contexts_of(entries)
    latents = encode(base, pictures)
    plain = new_training(base, concept, chosen.placeholder_token, start, chosen.kind, TEMPLATES[chosen.kind], latents, **flat)
    training = method(rules.method).prepare(base, plain, rules.options)
    return probed(base, training, rules.pick, pictures, settings.runtime.device) if rules.pick else training


def kept(concept: str) -> list[dict[str, Any]]:
    """Return what the manifest says of the curated pictures."""
    return [entry for entry in artifacts.read_json(artifacts.manifest(concept))["pictures"] if entry["kept"]]


def contexts_of(entries: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """Return what else the picture of each of a manifest's entries shows; one empty text where nobody said so of any."""
    contexts = tuple(entry.get("context", "") for entry in entries)
    return contexts if any(contexts) else ("",)


def rows_of(other: str, concept: str, base: BaseModel, failed: Collection[str]) -> Tensor:
    """Return the rows (vectors, dim) of the concept that `concept` starts as."""
    path = artifacts.learned_embeds(other)
    if other in failed or not path.exists():
        raise ValueError(f"{concept} starts as {other}, which has no embedding; run `wordmint build {other}` first, or start from an ordinary word")
    rows = read_learned(path).rows
    if rows.shape[1] != sum(base.widths):
        raise ValueError(f"{concept} starts as {other}, whose embedding is of another base model; run `wordmint build {other}` first")
    return rows


def training_record(concept: str, settings: Settings, base: BaseModel) -> dict:
    """Return everything that decides the embedding's bytes."""
    own = settings.concept(concept).model_dump(exclude={"invert"}, exclude_none=True)
    rules = settings.inversion(concept).model_dump(mode="json", exclude={"seed"}) | own
    data = artifacts.folder_digest(artifacts.curated(concept), "*.png")
    versions = {"stage": str(edition("invert")), "torch": version("torch"), "diffusers": version("diffusers")}
    other = settings.origin(concept)
    start = {"started_as": {"concept": other, "digest": artifacts.sha256(artifacts.learned_embeds(other))}} if other else {}
    contexts = contexts_of(kept(concept))
    said = {"contexts": contexts} if any(contexts) else {}
    seed = settings.inversion(concept).seed
    return {"seed": seed, "base": base.identity, "data_sha256": data, **said, **start, "settings": rules, "versions": versions}
