"""The start of the invert stage: a concept's settings and curated pictures become a training and the record of what decides its result."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from PIL import Image
from torch import Tensor

from tasks import artifacts
from tasks.diffusion.base_model import BaseModel
from tasks.diffusion.ddim import encode
from tasks.diffusion.per_layer import mean_rows
from tasks.diffusion.templates import TEMPLATES
from tasks.diffusion.words import nearest_words
from tasks.inversion.encoder import encoder_file, load_encoder
from tasks.inversion.methods import method
from tasks.inversion.options import FROM_PICTURES, Invert
from tasks.inversion.picking import probed
from tasks.inversion.training import Training, new_training
from tasks.pipeline.graph import edition
from tasks.settings import Concept, Settings
from tasks.words.learned import read_learned


def rounds(concepts: Sequence[str], settings: Settings) -> list[list[str]]:
    """Return concepts in the rounds in which they can be trained: one that starts as another of them comes in a later round."""

    def round_of(concept: str) -> int:
        origin = settings.origin(concept)
        return 1 + round_of(origin) if origin and origin in concepts else 0

    numbers = {concept: round_of(concept) for concept in concepts}
    return [[concept for concept in concepts if numbers[concept] == number] for number in range(max(numbers.values(), default=-1) + 1)]


@dataclass(frozen=True)
class Recipe:
    """How one concept is learned: what its training reads of params.yaml and of its manifest."""

    concept: str
    word: Concept
    rules: Invert
    origin: str | None
    """The concept that it starts as, if it starts as one."""
    entries: tuple[dict[str, Any], ...]
    """The manifest's entries of the pictures that were kept."""
    device: str
    encoder: str | None
    """base.encoder, if the concept starts from its pictures."""

    @property
    def contexts(self) -> tuple[str, ...]:
        """What else each picture shows; one empty text where captions.yaml says it of none."""
        contexts = tuple(entry.get("context", "") for entry in self.entries)
        return contexts if any(contexts) else ("",)


def recipe_of(concept: str, settings: Settings) -> Recipe:
    """Resolve the settings of one concept; its curated pictures must be there."""
    entries = tuple(entry for entry in artifacts.read_json(artifacts.manifest(concept))["pictures"] if entry["kept"])
    word, rules, origin = settings.concept(concept), settings.inversion(concept), settings.origin(concept)
    encoder = settings.base.encoder if word.initializer_token == FROM_PICTURES else None
    return Recipe(concept, word, rules, origin, entries, settings.runtime.device, encoder)


def prepare(recipe: Recipe, base: BaseModel, failed: Collection[str] = ()) -> Training:
    """Encode the curated pictures once and set up the concept's training.

    Raises:
        ValueError: the concept cannot start or be trained as params.yaml says. `failed` holds the concepts that no other can start as.
    """
    concept, word, rules = recipe.concept, recipe.word, recipe.rules
    pictures = [Image.open(artifacts.curated(concept) / entry["file"]) for entry in recipe.entries]
    arguments = {name: value for name, value in rules if name not in ("method", "options", "pick")} | {"contexts": recipe.contexts}
    latents = encode(base, pictures)
    start: str | Tensor = word.initializer_token if recipe.origin is None else rows_of(recipe.origin, concept, base, failed)
    if recipe.encoder:
        start = load_encoder(recipe.encoder, base).word(latents[0])[None]
    plain = new_training(base, concept, word.placeholder_token, start, word.kind, TEMPLATES[word.kind], latents, **arguments)
    training = method(rules.method).prepare(base, plain, rules.options)
    if rules.pick and training.trainable.changes:
        raise ValueError(
            f"invert.pick keeps the best rows, but the denoiser of {concept} would still be that of the last step; set invert.pick to null"
        )
    return probed(base, training, rules.pick, pictures, recipe.device) if rules.pick else training


def rows_of(origin: str, concept: str, base: BaseModel, failed: Collection[str]) -> Tensor:
    """Return the rows (vectors, dim) of `origin`, which `concept` starts as."""
    path = artifacts.learned_embeds(origin)
    if origin in failed or not path.exists():
        raise ValueError(f"{concept} starts as {origin}, which has no embedding; run `wordmint build {origin}` first, or start from an ordinary word")
    rows = read_learned(path).rows
    if rows.shape[1] % sum(base.widths):
        raise ValueError(f"{concept} starts as {origin}, whose embedding is of another base model; run `wordmint build {origin}` first")
    return mean_rows(rows, sum(base.widths))


def training_record(recipe: Recipe, base: BaseModel) -> dict:
    """Return everything that decides the embedding's bytes."""
    unset = {"text_encoders"} if recipe.rules.text_encoders is None else set()
    rules = recipe.rules.model_dump(mode="json", exclude={"seed", *unset}) | recipe.word.model_dump(exclude={"invert"}, exclude_none=True)
    data = artifacts.folder_digest(artifacts.curated(recipe.concept), "*.png")
    versions = {"stage": str(edition("invert")), "torch": version("torch"), "diffusers": version("diffusers")}
    origin = recipe.origin
    start: dict[str, Any] = {"started_as": {"concept": origin, "digest": artifacts.sha256(artifacts.learned_embeds(origin))}} if origin else {}
    if recipe.encoder:
        start = {"encoder_sha256": artifacts.sha256(encoder_file(recipe.encoder))}
    shown = {"contexts": recipe.contexts} if any(recipe.contexts) else {}
    if base.weights != "full":
        versions["weights"] = base.weights
    return {"seed": recipe.rules.seed, "base": base.identity, "data_sha256": data, **shown, **start, "settings": rules, "versions": versions}


def coarse_word(recipe: Recipe, training: Training, base: BaseModel) -> dict[str, str]:
    """Return the ordinary word nearest to the start of a word that starts from its pictures; nothing for another word, which names its own."""
    row = mean_rows(training.trainable.rows.detach(), sum(base.widths))[0]
    return {"coarse_word": nearest_words(base, row, 1)[0][0]} if recipe.encoder else {}
