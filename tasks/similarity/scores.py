"""The two scores of Gal et al. 2022, section 5.1, on CLIP features, with bootstrap intervals."""

from collections.abc import Callable, Sequence
from math import log
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Interval(NamedTuple):
    value: float
    low: float
    high: float


def reconstruction(generated: Tensor, training: Tensor) -> float:
    """Mean pairwise cosine of generated and training pictures: (n, dim), (m, dim), both L2-normalised."""
    return float((generated @ training.T).mean())


def image_only_reconstruction(training: Tensor) -> float:
    """Reconstruction of the training pictures by themselves; a picture is not compared with itself, which would flatter small sets."""
    n = len(training)
    if n < 2:
        return 1.0
    similarity = training @ training.T
    return float((similarity.sum() - similarity.diagonal().sum()) / (n * (n - 1)))


def editability(generated: Tensor, text: Tensor, count: int | None = None) -> float:
    """Cosine of the text's feature (dim,) with the *average* of the pictures' features (n, dim), as the paper defines it.

    The average of more pictures is shorter, so the score is higher. count: return the score to expect of `count` pictures instead (n >= 2), so
    that sets of different sizes compare. The average of `count` features has the squared length c + (1 - c) / count, where c is the mean
    cosine of pairs.
    """
    if count is None or count == len(generated):
        return float(F.cosine_similarity(generated.mean(dim=0), text, dim=0))
    pairs = image_only_reconstruction(generated)
    return mean_cosine(generated, text) / (pairs + (1 - pairs) / count) ** 0.5


def mean_cosine(generated: Tensor, text: Tensor) -> float:
    """Average of the pictures' cosines with the text: what the paper's released code computes instead of `editability`."""
    return float((generated @ text).mean())


def copies(generated: Tensor, training: Tensor) -> float:
    """Share of pictures (n, dim) that are nearer to a training picture than any two training pictures (m, dim) are to each other.

    Pictures of a prompt that asks for something else should not be; a share well above 0 shows a word that repeats its training pictures.
    """
    pairs = training @ training.T
    nearest = float(pairs.fill_diagonal_(-1).max()) if len(training) > 1 else 1.0
    return float(((generated @ training.T).max(dim=1).values > nearest).double().mean())


def shown(pictures: Tensor, without: Tensor, training: Tensor, confidence: float) -> Tensor:
    """Return which pictures (n, dim) show a concept, (n,) of bool: those more like its training pictures (m, dim) than pictures without it are.

    without: features (k, dim) of pictures of something else; the limit is the quantile `confidence` of their likeness.
    """
    likeness, chance = ((group @ training.T).mean(dim=1) for group in (pictures, without))
    return likeness > chance.quantile(confidence)


def evenness(labels: Tensor) -> float:
    """Shannon entropy of the shares of k values among pictures, as a part of its maximum (Pielou 1966): 0 is one value only, 1 all equally often.

    labels: (n, k) of 0 and 1, one 1 in a row.
    """
    return float(torch.special.entr(labels.mean(dim=0)).sum()) / log(labels.shape[1])


def bootstrap(statistic: Callable[[list[Tensor]], float], groups: Sequence[Tensor], samples: int, confidence: float, seed: int) -> Interval:
    """Percentile bootstrap (Efron 1979) of a statistic of several groups of pictures, each resampled within itself, centred on its value.

    Drawing a picture twice lengthens the groups' average, so the draws of `editability` lie below its value. Without centring, equally good
    words look different, up to one time in two. groups: features (n_i, dim).
    """
    generator = torch.Generator().manual_seed(seed)
    draws = torch.tensor(
        [statistic([group[torch.randint(len(group), (len(group),), generator=generator)] for group in groups]) for _ in range(samples)]
    )
    value = statistic(list(groups))
    low, high = torch.quantile(draws + (value - draws.mean()), torch.tensor([(1 - confidence) / 2, (1 + confidence) / 2])).tolist()
    return Interval(value, low, high)
