"""The two scores by hand, and what a bootstrap interval promises."""

import math
from pathlib import Path
from statistics import fmean

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from tasks.diffusion.base_model import weights_sha256
from tasks.similarity.scorer import load_scorer
from tasks.similarity.scores import Interval, bootstrap, editability, evenness, image_only_reconstruction, mean_cosine, reconstruction, shown

EAST, NORTH = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
DIAGONAL = torch.tensor([1.0, 1.0]) / math.sqrt(2)


def group_mean(groups: list[Tensor]) -> float:
    return float(groups[0].mean())


def normal(n: int, seed: int) -> Tensor:
    """n values with mean 1 and standard deviation 1."""
    return 1 + torch.randn(n, 1, generator=torch.Generator().manual_seed(seed))


def interval(n: int, seed: int = 0, samples: int = 200) -> Interval:
    return bootstrap(group_mean, [normal(n, seed)], samples, 0.95, seed=0)


def test_reconstruction_is_the_mean_over_all_pairs() -> None:
    # East with east, north, diagonal: 1, 0, 0.7071. North with them: 0, 1, 0.7071.
    assert reconstruction(torch.stack([EAST, NORTH]), torch.stack([EAST, NORTH, DIAGONAL])) == pytest.approx((2 + math.sqrt(2)) / 6)


def test_image_only_leaves_out_a_picture_and_itself() -> None:
    training = torch.stack([EAST, NORTH, DIAGONAL])
    assert image_only_reconstruction(training) == pytest.approx(math.sqrt(2) / 3)  # pairs 0, 0.7071, 0.7071
    assert image_only_reconstruction(training) < reconstruction(training, training) == pytest.approx((3 + 2 * math.sqrt(2)) / 9)
    assert image_only_reconstruction(torch.stack([EAST, NORTH])) == pytest.approx(0)
    assert image_only_reconstruction(EAST[None]) == 1


def test_editability_takes_the_mean_picture_and_mean_cosine_the_mean_of_cosines() -> None:
    generated = torch.stack([EAST, NORTH])
    assert editability(generated, DIAGONAL) == pytest.approx(1)  # the mean picture points where the text points
    assert mean_cosine(generated, DIAGONAL) == pytest.approx(1 / math.sqrt(2))
    assert editability(generated, EAST) == pytest.approx(1 / math.sqrt(2))
    assert mean_cosine(generated, EAST) == pytest.approx(0.5)
    assert editability(EAST[None], DIAGONAL) == pytest.approx(mean_cosine(EAST[None], DIAGONAL))


def test_editability_is_mean_cosine_over_the_length_of_the_mean_picture() -> None:
    generated = F.normalize(torch.randn(6, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
    text = F.normalize(torch.randn(8, generator=torch.Generator().manual_seed(1)), dim=0)
    assert editability(generated, text) == pytest.approx(mean_cosine(generated, text) / float(generated.mean(dim=0).norm()), rel=1e-4)


def test_few_pictures_tell_the_editability_of_more() -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = F.normalize(torch.randn(4000, 16, generator=generator) + 1, dim=-1)
    text = F.normalize(torch.randn(16, generator=generator) + 1, dim=0)
    many, told = (fmean(editability(part, text, 16) for part in pictures.split(size)) for size in (16, 4))
    plain = fmean(editability(part, text) for part in pictures.split(4))
    assert told == pytest.approx(many, rel=0.01)
    assert plain < 0.95 * many
    assert editability(pictures[:16], text, 16) == editability(pictures[:16], text)


def test_what_is_shown_is_more_like_it_than_most_pictures_of_something_else() -> None:
    without = torch.stack([NORTH] * 18 + [DIAGONAL] * 2)  # a tenth of the others are as like east as a diagonal is
    pictures = torch.stack([NORTH, DIAGONAL, EAST])
    assert shown(pictures, without, EAST[None], 0.85).tolist() == [False, True, True]
    assert shown(pictures, without, EAST[None], 0.95).tolist() == [False, False, True]


def test_evenness_is_the_entropy_in_units_of_its_maximum() -> None:
    labels = F.one_hot(torch.tensor([0, 0, 0, 1]), 2).double()
    assert evenness(labels) == pytest.approx(-(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25)))
    assert evenness(labels[:3]) == 0
    assert evenness(torch.eye(7)) == pytest.approx(1)


def test_an_interval_contains_its_value_which_is_the_statistic_of_the_sample() -> None:
    found = interval(20)
    assert found.value == pytest.approx(float(normal(20, 0).mean()))
    assert found.low < found.value < found.high


def test_an_interval_is_decided_by_its_seed() -> None:
    values = normal(20, 0)
    torch.manual_seed(1)
    first = bootstrap(group_mean, [values], 100, 0.95, seed=0)
    torch.manual_seed(2)
    assert bootstrap(group_mean, [values], 100, 0.95, seed=0) == first
    assert bootstrap(group_mean, [values], 100, 0.95, seed=1) != first


def test_an_interval_shrinks_with_the_root_of_n() -> None:
    small, large = interval(50), interval(5000)
    ratio = (small.high - small.low) / (large.high - large.low)
    assert 6 < ratio < 16  # ten in the limit


def test_more_confidence_is_a_wider_interval() -> None:
    values = normal(30, 0)
    narrow, wide = (bootstrap(group_mean, [values], 300, confidence, seed=0) for confidence in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_equally_good_words_are_rarely_told_apart() -> None:
    """The average of 16 pictures, of which a draw has some twice, is shorter than theirs; the interval must not lie too low for that."""
    text, generator, apart = F.normalize(torch.ones(16), dim=0), torch.Generator().manual_seed(0), 0
    for _ in range(100):
        one, other = F.normalize(text + 0.5 * torch.randn(2, 16, 16, generator=generator), dim=-1)
        apart += editability(other, text) > bootstrap(lambda groups: editability(groups[0], text), [one], 100, 0.95, seed=0).high
    assert apart <= 15  # of two estimates as uncertain as each other 8 % are so far apart; of draws that are not centred the half would


def test_an_interval_covers_the_true_mean_at_about_its_level() -> None:
    found = [interval(30, seed) for seed in range(150)]
    coverage = sum(low <= 1 <= high for _, low, high in found) / len(found)
    assert 0.87 <= coverage <= 0.99


def test_groups_are_resampled_each_within_itself() -> None:
    groups = [torch.zeros(3, 1), torch.ones(5, 1)]
    sizes = set()

    def statistic(drawn: list[Tensor]) -> float:
        sizes.add(tuple(map(len, drawn)))
        return float(drawn[1].mean() - drawn[0].mean())

    assert bootstrap(statistic, groups, 100, 0.95, seed=0) == (1, 1, 1)
    assert sizes == {(3, 5)}


def test_features_are_of_unit_length_and_do_not_depend_on_the_batch(tiny_scorer_folder: Path) -> None:
    scorer = load_scorer(f"local-dir:{tiny_scorer_folder}", None, "cpu")
    pictures = [Image.new(mode, (20, 16), colour) for mode, colour in (("RGB", "red"), ("L", 90), ("RGB", "navy"))]
    features = scorer.image_features(pictures)
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(3))
    torch.testing.assert_close(scorer.image_features(pictures, batch_size=2), features, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(scorer.text_features(["a photo of a cat"]).norm(dim=-1), torch.ones(1))
    assert not torch.allclose(features[0], features[2], atol=1e-3)


@pytest.mark.parametrize("model", ["local-dir:no/such/folder", "ViT-of-nobody"])
def test_a_scorer_that_does_not_exist_is_named(model: str) -> None:
    with pytest.raises(ValueError, match=f"the scorer '{model}'"):
        load_scorer(model, None, "cpu")


def test_a_folders_weights_are_those_that_the_settings_name(tiny_scorer_folder: Path) -> None:
    model, weights = f"local-dir:{tiny_scorer_folder}", weights_sha256(tiny_scorer_folder)
    assert load_scorer(model, weights[:12], "cpu").identity == {"model": model, "weights_sha256": weights}
    with pytest.raises(ValueError, match=rf"the scorer's `pretrained` is 0123456789ab, but the weights in .* are {weights[:12]}"):
        load_scorer(model, "0123456789ab", "cpu")
