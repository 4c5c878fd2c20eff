"""Score a concept's samples against its curated pictures, between two bounds."""

import hashlib
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from PIL import Image
from torch import Tensor

from tasks import artifacts
from tasks.concepts.stand_ins import STAND_INS, without_word
from tasks.settings import Settings
from tasks.similarity.scorer import Scorer, load_scorer
from tasks.similarity.scores import Interval, bootstrap, editability, image_only_reconstruction, reconstruction


def judge(concept: str, samples: Path, settings: Settings) -> dict[str, Any]:
    """Return the scores of a folder of samples against the curated pictures of a concept."""
    scorer = load_scorer(settings.scorer.model, settings.scorer.pretrained, settings.runtime.device)
    record, rules = artifacts.read_json(samples / "samples.json"), settings.score
    prompts: dict[str, str] = {entry["prompt"]: entry["slug"] for entry in record["prompts"]}
    first, *edits = prompts
    training = read_features(scorer, artifacts.curated(concept))
    texts = dict(zip(prompts, scorer.text_features([without_word(prompt) for prompt in prompts]), strict=True))
    kinds = ["word", "prompt_only", *record["references"]]
    pictures = {kind: {prompt: read_features(scorer, samples / kind / slug) for prompt, slug in prompts.items()} for kind in kinds}
    word = pictures["word"]

    def reconstruction_of(kind: str) -> float | None:
        return reconstruction(pictures[kind][first], training) if kind in pictures else None

    def editability_of(kind: str) -> float | None:
        """Return the editability of a kind of pictures, converted to the number of the word's pictures if there are fewer."""
        features = pictures.get(kind, {})
        return fmean(editability(features[prompt], texts[prompt], len(word[prompt])) for prompt in edits) if features else None

    interval = partial(bootstrap, samples=rules.bootstrap_samples, confidence=rules.confidence, seed=rules.seed)
    return {
        "concept": concept,
        "embedding_digest": record["embedding_digest"],
        "scorer": {**scorer.identity, "prompt_suite": hashlib.sha256("\n".join(prompts).encode()).hexdigest()},
        "reconstruction": bounded(
            # The generated and the training pictures are both samples of a larger set, so both are resampled.
            interval(lambda groups: reconstruction(groups[0], groups[1]), [word[first], training]),
            image_only=image_only_reconstruction(training),
            prompt_only=reconstruction_of("prompt_only"),
            **{kind: reconstruction_of(kind) for kind in STAND_INS},
        ),
        "editability": bounded(
            interval(lambda groups: fmean(map(editability, groups, (texts[prompt] for prompt in edits))), [word[prompt] for prompt in edits]),
            image_only=fmean(editability(training, texts[prompt], len(word[prompt])) for prompt in edits),
            prompt_only=editability_of("prompt_only"),
            **{kind: editability_of(kind) for kind in STAND_INS},
        ),
        "prompts": [{"prompt": prompt, **scores_of(word[prompt], texts[prompt], training)} for prompt in prompts],
    }


def scores_of(pictures: Tensor, text: Tensor, training: Tensor) -> dict[str, float]:
    """Return both scores of one prompt's pictures (pictures, dim), to five places."""
    return {"editability": round(editability(pictures, text), 5), "reconstruction": round(reconstruction(pictures, training), 5)}


def read_features(scorer: Scorer, folder: Path) -> Tensor:
    """Return the features of a folder's pictures, sorted by file name: (pictures, dim)."""
    return scorer.image_features([Image.open(path) for path in sorted(folder.glob("*.png"))])


def bounded(interval: Interval, **bounds: float | None) -> dict[str, float | None]:
    """Return a score with its interval and bounds, to five places; a bound that was not measured is None."""
    return {name: None if value is None else round(value, 5) for name, value in {**interval._asdict(), **bounds}.items()}


def features_of(concept: str, folder: Path, scorer: Scorer) -> Tensor:
    """Return the features of pictures that a build of a concept wrote to a folder: (pictures, dim).

    Raises:
        ValueError: the folder has no pictures.
    """
    if not any(folder.glob("*.png")):
        raise ValueError(f"{folder} has no pictures to compare with; run `wordmint build {concept}` or `dvc pull` first")
    return read_features(scorer, folder)


def headline(scores: dict[str, Any]) -> dict[str, float]:
    """Return each score as `name`, and its interval and bounds as `name_low` and so on; a bound that is None is left out."""
    flat = {name + ("" if key == "value" else f"_{key}"): value for name in ("reconstruction", "editability") for key, value in scores[name].items()}
    return {name: float(value) for name, value in flat.items() if value is not None}
