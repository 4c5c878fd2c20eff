"""Pictures ranked by CLIP: how well each agrees with the text of its prompt and with the pictures of the words in it."""

from collections.abc import Mapping, Sequence

import torch
from PIL import Image

from tasks import artifacts
from tasks.concepts.stand_ins import without_word
from tasks.diffusion.strengths import without_strengths
from tasks.judging.judge import features_of
from tasks.settings import Settings
from tasks.similarity.scorer import load_scorer


def agreements(pictures: Sequence[Image.Image], prompt: str, owners: Mapping[str, str], settings: Settings) -> list[dict[str, float]]:
    """Return each picture's cosine with the text of the prompt without its new words, and its mean cosine with each word's curated pictures.

    owners: the concept of each new word in the prompt. A prompt of new words only has no text to agree with.

    Raises:
        ValueError: a concept has no curated pictures here.
    """
    scorer = load_scorer(settings.scorer.model, settings.scorer.pretrained, settings.runtime.device)
    features, prompt = scorer.image_features(pictures), without_strengths(prompt)
    for word in owners:
        prompt = prompt.replace(word, "{}")
    text = without_word(prompt)
    columns = {"text": features @ scorer.text_features([text])[0]} if text else {}
    for word, concept in owners.items():
        columns[word] = (features @ features_of(concept, artifacts.curated(concept), scorer).T).mean(dim=1)
    return [{name: float(column[index]) for name, column in columns.items()} for index in range(len(pictures))]


def best_first(agreement: Sequence[Mapping[str, float]]) -> list[int]:
    """Return the order of pictures by the sum of their standard scores: each kind of agreement counts alike, whatever its scale.

    Pictures that agree equally, or without any agreement, keep their order.
    """
    columns = torch.tensor([list(row.values()) for row in agreement], dtype=torch.float64)
    deviations = columns - columns.mean(dim=0)
    standard = deviations / deviations.square().mean(dim=0).sqrt().clamp(min=1e-12)
    return standard.sum(dim=1).argsort(descending=True, stable=True).tolist()
