"""invert: the curated pictures become a learned embedding; of an imported word its file does."""

import hashlib
import json
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from PIL import Image
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks import artifacts
from tasks.diffusion.base_model import BaseModel, load_base_model
from tasks.diffusion.ddim import encode
from tasks.diffusion.templates import TEMPLATES
from tasks.inversion.methods import METHODS
from tasks.inversion.options import OPTIONS
from tasks.inversion.textual_inversion import Word, new_word
from tasks.inversion.training import train_words
from tasks.learned import adopt, write_learned
from tasks.settings import Settings, stage_version
from tasks.stage import run_stage


@task(cache_policy=NO_CACHE)
def invert(
    concepts: Sequence[str],
    settings: Settings,
    on_step: Callable[[Word], object] = lambda word: None,
    on_end: Callable[[str, Exception | None], object] = lambda concept, error: None,
) -> None:
    """Find the embeddings of many concepts, as many at once as a batch holds; `on_end` hears of each that is written, or failed."""
    base = load_base_model(settings.base.model, settings.base.revision, settings.runtime.device)
    words, records, checkpoints = [], {}, {}
    for concept in concepts:
        imported = settings.concept(concept).source is not None
        try:
            if imported:
                adopt(concept, settings, base)
            else:
                words.append(prepare(concept, settings, base))
        except Exception as error:
            on_end(concept, error)
            continue
        if imported:
            on_end(concept, None)
            continue
        records[concept] = training_record(concept, settings, base)
        digest = hashlib.sha256(json.dumps(records[concept], sort_keys=True).encode()).hexdigest()
        checkpoints[concept] = artifacts.checkpoints() / f"{concept}-{digest[:16]}.pt"

    def end(word: Word) -> None:
        if word.error:
            on_end(word.concept, FloatingPointError(word.error))
            return
        how = {"method": settings.inversion(word.concept).method, "optimizer_steps": word.step, "stopped": "early" if word.settled else "cap"}
        write_learned(word.concept, word.learned.cpu(), how | {"seconds": round(word.seconds, 2)}, records[word.concept], base)
        checkpoints[word.concept].unlink(missing_ok=True)
        on_end(word.concept, None)

    if words:
        runtime = settings.runtime
        train_words(base, words, list(checkpoints.values()), runtime.checkpoint_every, runtime.concepts_per_batch, on_step, end)


def invert_one(concept: str, settings: Settings) -> Path:
    """Find the embedding of one concept and return the path of learned_embeds.safetensors.

    Raises:
        FloatingPointError: the loss became NaN or infinite; the last checkpoint is kept.
    """

    def end(concept: str, error: Exception | None) -> None:
        if error:
            raise error

    invert.fn([concept], settings, on_end=end)
    return artifacts.learned_embeds(concept)


def prepare(concept: str, settings: Settings, base: BaseModel) -> Word:
    """Encode the curated pictures once and set up the concept's word."""
    files = [entry["file"] for entry in artifacts.read_json(artifacts.manifest(concept))["pictures"] if entry["kept"]]
    pictures = [Image.open(artifacts.curated(concept) / file) for file in files]
    chosen, rules = settings.concept(concept), settings.inversion(concept)
    flat = {name: value for name, value in rules if name not in ("method", "options")}
    word = new_word(base, concept, chosen.placeholder_token, chosen.initializer_token, TEMPLATES[chosen.kind], encode(base, pictures), **flat)
    return METHODS[rules.method](base, word, OPTIONS[rules.method](**rules.options))


def training_record(concept: str, settings: Settings, base: BaseModel) -> dict:
    """Return everything that decides the embedding's bytes."""
    own = settings.concept(concept).model_dump(exclude={"invert"}, exclude_none=True)
    rules = settings.inversion(concept).model_dump(mode="json", exclude={"seed"}) | own
    data = artifacts.folder_digest(artifacts.curated(concept), "*.png")
    versions = {"stage": str(stage_version("invert")), "torch": version("torch"), "diffusers": version("diffusers")}
    return {"seed": settings.inversion(concept).seed, "base": base.identity, "data_sha256": data, "settings": rules, "versions": versions}


if __name__ == "__main__":
    run_stage(invert_one)
