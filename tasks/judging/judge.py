"""Score a concept's samples against its curated pictures, between two bounds."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

from PIL import Image
from torch import Tensor

from tasks import artifacts
from tasks.concepts.stand_ins import STAND_INS, without_word
from tasks.settings import Settings
from tasks.similarity.eye import load_eye
from tasks.similarity.scorer import load_scorer
from tasks.similarity.scores import Interval, bootstrap, copies, editability, image_only_reconstruction, reconstruction

Bootstrap = Callable[[Callable[[list[Tensor]], float], Sequence[Tensor]], Interval]
Pictures = Mapping[str, Mapping[str, Tensor]]
"""Kind of pictures (word, prompt_only, a stand-in) -> prompt -> features (pictures, dim)."""


class Sees(Protocol):
    """A judge of pictures."""

    def image_features(self, pictures: Sequence[Image.Image]) -> Tensor: ...


def judge(concept: str, samples: Path, settings: Settings) -> dict[str, Any]:
    """Return the scores of a folder of samples against the curated pictures of a concept."""
    scorer = load_scorer(settings.scorer.model, settings.scorer.pretrained, settings.runtime.device)
    record, rules = artifacts.read_json(samples / "samples.json"), settings.score
    prompts: dict[str, str] = {entry["prompt"]: entry["slug"] for entry in record["prompts"]}
    texts = dict(zip(prompts, scorer.text_features([without_word(prompt) for prompt in prompts]), strict=True))
    pictures, training = read_pictures(scorer, samples, record), read_features(scorer, artifacts.curated(concept))
    interval = partial(bootstrap, samples=rules.bootstrap_samples, confidence=rules.confidence, seed=rules.seed)
    word, (_, *edits) = pictures["word"], prompts
    rows = [
        {"prompt": prompt, "editability": editability(word[prompt], texts[prompt]), "reconstruction": reconstruction(word[prompt], training)}
        for prompt in prompts
    ]
    seen, scorers = seen_by_the_eye(concept, samples, record, settings, interval), {**scorer.identity, "prompt_suite": suite_digest(prompts)}
    return {
        "concept": concept,
        "embedding_digest": record["embedding_digest"],
        "scorer": scorers | seen["judge"],
        "reconstruction": likeness(pictures, training, interval),
        "editability": obedience(pictures, training, texts, interval),
        "fidelity": seen["fidelity"],
        "diversity": seen["diversity"],
        "copies": round(fmean(copies(word[prompt], training) for prompt in edits), 5),
        "prompts": [rounded(row | of_the_eye) for row, of_the_eye in zip(rows, seen["prompts"], strict=True)],
    }


def seen_by_the_eye(concept: str, samples: Path, record: Mapping[str, Any], settings: Settings, interval: Bootstrap) -> dict[str, Any]:
    """Return fidelity, its mean over the prompts for editing, diversity, the judge's identity, and fidelity by prompt.

    All of them are None or empty without such a judge, and for a style: its pictures show different things, which have no shape in common.
    """
    rules, prompts = settings.score.fidelity, [entry["prompt"] for entry in record["prompts"]]
    if rules is None or settings.concept(concept).kind == "style":
        return {"fidelity": None, "diversity": None, "judge": {"fidelity": None}, "prompts": [{} for _ in prompts]}
    eye = load_eye(rules.model, rules.revision, settings.runtime.device)
    pictures, training = read_pictures(eye, samples, record), read_features(eye, artifacts.curated(concept))
    by_prompt = {prompt: reconstruction(pictures["word"][prompt], training) for prompt in prompts}
    edited = fmean(list(by_prompt.values())[1:])
    distances = {"value": pictures["word"][prompts[0]], "training": training}
    return {
        "fidelity": likeness(pictures, training, interval) | rounded({"edited": edited}),
        "diversity": rounded({name: 1 - image_only_reconstruction(features) for name, features in distances.items()}),
        "judge": {"fidelity": eye.identity},
        "prompts": [{"fidelity": value} for value in by_prompt.values()],
    }


def likeness(pictures: Pictures, training: Tensor, interval: Bootstrap) -> dict[str, float | None]:
    """Return how like the training pictures (m, dim) the first prompt's pictures are under one judge, with interval, bounds and stand-ins."""
    first = {kind: next(iter(by_prompt.values())) for kind, by_prompt in pictures.items()}
    means = {kind: reconstruction(features, training) for kind, features in first.items()}
    return rounded(
        # The generated and the training pictures are both samples of a larger set, so both are resampled.
        interval(lambda groups: reconstruction(groups[0], groups[1]), [first["word"], training])._asdict()
        | {"image_only": image_only_reconstruction(training), "prompt_only": means["prompt_only"]}
        | {kind: means.get(kind) for kind in STAND_INS}
    )


def obedience(pictures: Pictures, training: Tensor, texts: Mapping[str, Tensor], interval: Bootstrap) -> dict[str, float | None]:
    """Return how well the pictures of all prompts but the first obey them, with interval, bounds and stand-ins.

    A kind that has fewer pictures than the word is converted to the word's number.
    """
    word, edits = pictures["word"], list(texts)[1:]

    def mean(features: Mapping[str, Tensor]) -> float | None:
        return fmean(editability(features[prompt], texts[prompt], len(word[prompt])) for prompt in edits) if features else None

    def statistic(groups: list[Tensor]) -> float:
        return fmean(editability(group, texts[prompt]) for group, prompt in zip(groups, edits, strict=True))

    return rounded(
        interval(statistic, [word[prompt] for prompt in edits])._asdict()
        | {"image_only": mean(dict.fromkeys(edits, training))}
        | {kind: mean(pictures.get(kind, {})) for kind in ("prompt_only", *STAND_INS)}
    )


def suite_digest(prompts: Mapping[str, Any]) -> str:
    return hashlib.sha256("\n".join(prompts).encode()).hexdigest()


def rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with numbers to five places; one that was not measured stays None."""
    return {name: round(value, 5) if isinstance(value, float) else value for name, value in values.items()}


def read_pictures(scorer: Sees, samples: Path, record: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
    """Return the features of every picture of a folder of samples: kind -> prompt -> (pictures, dim)."""
    kinds = ("word", "prompt_only", *record["references"])
    return {kind: {entry["prompt"]: read_features(scorer, samples / kind / entry["slug"]) for entry in record["prompts"]} for kind in kinds}


def read_features(scorer: Sees, folder: Path) -> Tensor:
    """Return the features of a folder's pictures, sorted by file name: (pictures, dim)."""
    return scorer.image_features([Image.open(path) for path in sorted(folder.glob("*.png"))])


def features_of(concept: str, folder: Path, scorer: Sees) -> Tensor:
    """Return the features of pictures that a build of a concept wrote to a folder: (pictures, dim).

    Raises:
        ValueError: the folder has no pictures.
    """
    if not any(folder.glob("*.png")):
        raise ValueError(f"{folder} has no pictures to compare with; run `wordmint build {concept}` or `dvc pull` first")
    return read_features(scorer, folder)
