"""Two words in one prompt: in how many pictures CLIP finds both concepts."""

from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from torch import Tensor

from tasks import artifacts
from tasks.diffusion.base_model import BaseModel, load_base_model
from tasks.drawing.index import write_index
from tasks.drawing.pictures import pictures_of, save_pictures, seeds_of
from tasks.judging.judge import features_of
from tasks.pipeline import repository
from tasks.pipeline.door import refuse_revoked
from tasks.pipeline.graph import edition
from tasks.settings import Settings
from tasks.similarity.scorer import Scorer, load_scorer
from tasks.similarity.scores import shown
from tasks.words.learned import read_learned, taught

PROMPTS = {("object", "object"): "a photo of a {} and a {}", ("object", "style"): "a picture of a {} in the style of {}"}
"""The kinds of two words -> their common prompt; two styles do not compose."""


def compose(concepts: Sequence[str], settings: Settings, on_pair: Callable[[dict[str, Any]], object]) -> None:
    """Score every pair of the named concepts, or of all built ones when none is named, and bring the report up to date.

    A pair that was scored from the same words, pictures, models and settings is not scored again. `on_pair` is called with each record.

    Raises:
        ValueError: a named concept is unknown, not built or revoked, or there are fewer than two.
    """
    for concept in concepts:
        settings.concept(concept)
        refuse_revoked(concept)
        if not artifacts.scores(concept).exists():
            raise ValueError(f"{concept} has no samples to compare with; run `wordmint build {concept}` first")
    chosen = [key for key in settings.concepts if (key in concepts if concepts else is_built(key))]
    by_kind = sorted(chosen, key=lambda key: settings.concept(key).kind)  # "object" comes before "style"
    pairs = [pair for pair in combinations(by_kind, 2) if kinds(pair, settings) in PROMPTS]
    if not pairs:
        raise ValueError(f"compose needs two built concepts, one of them an object; there is {', '.join(chosen) or 'none'}")
    base = load_base_model(*settings.base_model)
    scorer = load_scorer(settings.scorer.model, settings.scorer.pretrained, settings.runtime.device)
    for one, other in pairs:
        inputs, path = made_of(one, other, base, scorer, settings), artifacts.composition_record(one, other)
        if not path.exists() or artifacts.read_json(path)["made_of"] != inputs:
            score_pair(one, other, inputs, base, scorer, settings)
        on_pair(artifacts.read_json(path))
    with repository.open_repo() as repo:
        if repository.why(repo, "report"):
            return  # the next build writes it
        with repository.recording(repo, "report"):
            write_index(settings)


def is_built(concept: str) -> bool:
    record = artifacts.registered(concept)
    return artifacts.scores(concept).exists() and record.exists() and "revoked" not in artifacts.read_json(record)


def kinds(pair: tuple[str, str], settings: Settings) -> tuple[str, str]:
    one, other = (settings.concept(key).kind for key in pair)
    return one, other


def made_of(one: str, other: str, base: BaseModel, scorer: Scorer, settings: Settings) -> dict[str, Any]:
    """Return everything that the score of a pair depends on."""
    (steps, guidance_scale), pair = settings.sample.look(base.look), (one, other)
    return {
        "prompt": PROMPTS[kinds(pair, settings)],
        "embedding_digests": [artifacts.sha256(artifacts.learned_embeds(key)) for key in pair],
        "pictures_sha256": [artifacts.folder_digest(path, "*.png") for key in pair for path in (artifacts.curated(key), own_samples(key, settings))],
        "base": base.identity,
        "scorer": scorer.identity,
        "num_inference_steps": steps,
        "guidance_scale": guidance_scale,
        "seeds": seeds_of(settings),
        "confidence": settings.score.confidence,
        "sample": edition("sample"),
    }


def own_samples(concept: str, settings: Settings) -> Path:
    """Return the folder of the pictures that a word draws without another word: the samples of its first prompt."""
    return artifacts.samples(concept) / "word" / artifacts.prompt_slug(settings.prompts(concept)[0])


def score_pair(one: str, other: str, inputs: dict[str, Any], base: BaseModel, scorer: Scorer, settings: Settings) -> None:
    """Draw a pair's pictures and record in which share of them the first concept is found, the second, and both.

    A concept is found in a picture that is more like its training pictures than the pictures of the other word alone are.
    """
    prompt = inputs["prompt"].format(*(settings.concept(key).placeholder_token for key in (one, other)))
    learned = [read_learned(artifacts.learned_embeds(key)) for key in (one, other)]
    with taught(base, learned) as words:
        (pictures,) = pictures_of(base, [prompt], seeds_of(settings), words, settings)
    features = scorer.image_features(pictures)

    def pictures_with(concept: str, partner: str) -> Tensor:
        training = features_of(concept, artifacts.curated(concept), scorer)
        others = features_of(partner, own_samples(partner, settings), scorer)
        return shown(features, others, training, settings.score.confidence)

    hits = [pictures_with(one, other), pictures_with(other, one)]
    shares = {name: round(float(hit.float().mean()), 5) for name, hit in zip(("one", "other", "both"), (*hits, hits[0] & hits[1]), strict=True)}
    with artifacts.new_folder(artifacts.composition(one, other)) as folder:
        save_pictures(folder, pictures, seeds_of(settings), {"prompt": prompt, "model": base.identity["model"]})
        record = {"concepts": [one, other], "prompt": prompt, "shares": shares, "made_of": inputs}
        artifacts.write_json(folder / artifacts.composition_record(one, other).name, record)
