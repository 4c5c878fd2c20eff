"""How evenly the pictures of a word spread over an attribute such as a colour: the bias of a word, or of one that is learned to replace it."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from tasks.concepts.stand_ins import coarse_word
from tasks.diffusion.base_model import load_base_model
from tasks.diffusion.ddim import generate
from tasks.diffusion.strengths import without_strengths
from tasks.settings import Settings, check_prompt
from tasks.similarity.scorer import load_scorer
from tasks.similarity.scores import bootstrap, evenness
from tasks.using.champions import champions, words_in


def spread(
    prompt: str, words: Sequence[str], values: Sequence[str], number: int, seed: int, settings: Settings, any_base: bool = False
) -> list[dict[str, Any]]:
    """Return {word, counts, evenness: {value, low, high}} for each word; `counts` are the pictures that the scorer assigns to each value.

    prompt: has {} for the word. words: ordinary words, or words of the catalog such as <mug>, drawn with their champions. values: adjectives;
    the scorer chooses between the prompts with `<value> <word>`, in which a learned word is replaced by its ordinary one.

    Raises:
        ValueError: the prompt has no {}, there are fewer than two values or two are equal, or see `champions`.
    """
    check_prompt(prompt)
    if len(set(values)) < max(2, len(values)) or "" in values:
        raise ValueError(f"the values {','.join(values)!r} must be two or more words, all different; separate them by commas")
    base = load_base_model(*settings.base_model)
    scorer = load_scorer(settings.scorer.model, settings.scorer.pretrained, settings.runtime.device)
    ordinary = {concept.placeholder_token: coarse_word(key, settings) or concept.initializer_token for key, concept in settings.concepts.items()}
    look, scoring, results = settings.sample.look(base.look), settings.score, []
    prompts, seeds = [prompt.format(word) for word in words for _ in range(number)], [*range(seed, seed + number)] * len(words)
    with champions(words_in(" ".join(words)), base, settings, any_base) as learned:
        pictures = list(generate(base, prompts, seeds, learned, *look, settings.runtime.pictures_per_batch))
    for index, word in enumerate(words):
        features = scorer.image_features(pictures[index * number : (index + 1) * number])
        texts = scorer.text_features([prompt.format(f"{value} {ordinary.get(without_strengths(word), word)}") for value in values])
        labels = F.one_hot((features @ texts.T).argmax(dim=1), len(values)).to(torch.float64)
        interval = bootstrap(lambda groups: evenness(groups[0]), [labels], scoring.bootstrap_samples, scoring.confidence, scoring.seed)
        counts = dict(zip(values, labels.sum(dim=0).int().tolist(), strict=True))
        # A basic bootstrap interval reaches past the ends of the scale.
        shares = {name: round(min(1.0, max(0.0, number)), 5) for name, number in interval._asdict().items()}
        results.append({"word": word, "counts": counts, "evenness": shares})
    return results
