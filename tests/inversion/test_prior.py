"""Prior preservation: the base's own pictures of the class are learned beside the concept's."""

from pathlib import Path

import pytest
import torch

from tasks.diffusion.base_model import BaseModel
from tasks.inversion import prior
from tasks.inversion.passes import batch_losses, drawn
from tasks.inversion.prior import Preservation, class_pictures, prior_of
from tests.support.words import SETTINGS, make, trained

KEPT = Preservation(pictures=3, weight=0.5, num_inference_steps=2, guidance_scale=2.0)


def test_a_class_is_drawn_once_and_shared(base: BaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make(base, "textual_inversion").data
    kept = prior_of(base, data, KEPT, "fox")
    assert kept is not None and kept.weight == 0.5
    assert kept.latents.shape == (3, *base.latent_shape)
    assert not torch.equal(kept.latents[0], kept.latents[1])
    monkeypatch.setattr(prior, "AT_ONCE", 0)  # drawing anew would fail
    again = prior_of(base, data, KEPT, "owl")
    assert again is not None and again.latents is kept.latents
    texts = [base.tokenizer.decode(ids[0], skip_special_tokens=True) for ids in kept.input_ids]
    assert [text.replace(" ", "") for text in texts] == ["aphotoofadog", "thedog"]
    assert prior_of(base, data, None, "fox") is None
    assert class_pictures(base, "a photo of a dog", 3, 2, 2.0) is kept.latents


def test_a_step_has_as_many_pictures_of_the_class_by_their_weight(base: BaseModel) -> None:
    with_prior = make(base, "dreambooth", options=SETTINGS["dreambooth"] | {"prior": KEPT.model_dump()})
    batch = drawn(base, with_prior)
    assert with_prior.data.pictures_per_step == len(batch.latents) == 4
    assert batch.weights.tolist() == [0.5, 0.5, 0.25, 0.25]
    assert with_prior.data.prior is not None
    for latents, ids in zip(batch.latents[2:], batch.input_ids[2:], strict=True):
        assert any(torch.equal(latents, kept) for kept in with_prior.data.prior.latents)
        assert int(ids.max()) < len(base.tokenizer)  # no new word in the captions of the class
    without = make(base, "dreambooth", options=SETTINGS["dreambooth"] | {"prior": None})
    own = drawn(base, without)
    assert torch.equal(own.latents, batch.latents[:2])
    losses = [float(batch_losses(base, [training], [part], 99)[0]) for training, part in ((with_prior, batch), (without, own))]
    assert losses[0] > losses[1]


def test_a_concept_that_starts_as_another_has_no_class(base: BaseModel, tmp_path: Path) -> None:
    (rows,) = trained(base, tmp_path, make(base, "textual_inversion"))
    for name in ("dreambooth", "perfusion"):
        with pytest.raises(ValueError, match=f"{name} has no class word, since it does not start as an ordinary word; set its initializer"):
            make(base, name, initializer=rows)
