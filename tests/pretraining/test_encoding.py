"""What an encoder learns from: other pictures of the same thing, whose word denoises one of them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.diffusion.base_model import BaseModel, load_base_model
from tasks.pretraining import encoding
from tasks.pretraining.encoding import draw_pictures, encoder_loss, read_domain
from tests.support.catalogs import draw_picture
from tests.support.tiny import save_tiny_pipeline
from tests.support.words import random_encoder


def test_sources_are_other_pictures_of_the_targets_thing() -> None:
    ends = np.array([1, 4, 6])  # things of one, three and two pictures
    owners, counts = np.array([0, 1, 1, 1, 2, 2]), set()
    for seed in range(20):
        targets, sources = draw_pictures(np.random.default_rng(seed), ends, 8)
        counts.add(sources.shape[1])
        assert (owners[sources] == owners[targets][:, None]).all()
        assert ((sources == targets[:, None]).any(axis=1) == (owners[targets] == 0)).all()
    assert counts == {1, 2, 3}


def test_a_domain_is_read_with_what_else_its_pictures_show(base: BaseModel, tmp_path: Path) -> None:
    for number, file in enumerate(("a/1.png", "a/2.png", "b/1.png")):
        draw_picture(tmp_path / file, number)
    (tmp_path / "a/captions.yaml").write_text("context: {2.png: on the moon}")
    domain = read_domain(tmp_path, base, 48, 10**6)
    assert domain["means"].shape == domain["stds"].shape == (3, *base.latent_shape)
    assert (domain["contexts"], domain["ends"]) == (["", "on the moon", ""], [2, 3])
    loss = encoder_loss(base, domain, batch=4)
    encoder = random_encoder(base)
    values = [loss(encoder, np.random.default_rng(seed), torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]
    values[0].backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in encoder.parameters())


@pytest.mark.parametrize("family", ["sd1", "sd3", "flux-dev", "z-image"])
def test_each_text_encoder_reads_a_word_of_its_own_for_each_thing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    base = load_base_model.__wrapped__(str(save_tiny_pipeline(tmp_path, family=family)), None, "cpu")
    latents = torch.zeros(2, *base.latent_shape)
    read, encode = list[torch.Tensor](), encoding.encode_tokens
    monkeypatch.setattr(encoding, "encode_tokens", lambda base, ids, rows: read.append(ids) or encode(base, ids, rows))
    loss = encoder_loss(base, {"means": latents, "stds": latents, "contexts": ["", ""], "ends": [1, 2]}, batch=3)
    loss(random_encoder(base), np.random.default_rng(0), torch.Generator().manual_seed(0))
    for number, encoder in enumerate(base.text_encoders):
        words = [of_thing[of_thing >= len(encoder.tokenizer)].unique().tolist() for of_thing in read[0][:, number]]
        assert words == [[len(encoder.tokenizer) + thing] for thing in range(3)]


@pytest.mark.parametrize(
    ("file", "said"), [(None, "has no folders"), ("a/readme.txt", "has no pictures"), ("a/1.png", "cannot be used: not a picture")]
)
def test_a_folder_that_is_no_domain_is_refused(base: BaseModel, tmp_path: Path, file: str | None, said: str) -> None:
    if file:
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).write_text("text")
    with pytest.raises(ValueError, match=said):
        read_domain(tmp_path, base, 48, 10**6)
