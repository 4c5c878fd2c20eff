"""The checkpoint that scored best is published, and looking for it changes nothing."""

from pathlib import Path
from statistics import fmean

import pytest
import torch
from torch import Tensor

from tasks.diffusion.base_model import BaseModel
from tasks.diffusion.ddim import generate
from tasks.inversion.loop import train
from tasks.inversion.picking import FIRST_SEED, PROBES, probed
from tasks.inversion.training import Training
from tasks.similarity.scorer import load_scorer
from tasks.similarity.scores import editability, reconstruction
from tasks.training.result import how_it_ended
from tasks.words.learned import Learned
from tests.support.words import PICTURES, make, pick, trained


def scripted(word: Training, scores: list[float]) -> list[Tensor]:
    """Let a word's looks find these scores; return where the rows that were looked at are kept."""
    seen: list[Tensor] = []

    def probe(learned: Learned) -> dict[str, float]:
        seen.append(learned.rows.clone())
        return {"score": scores[len(seen) - 1]}

    word.schedule.probe_every, word.schedule.probe = 2, probe
    return seen


def test_the_best_rows_are_published_and_the_record_says_which(base: BaseModel, tmp_path: Path) -> None:
    word = make(base, "textual_inversion", max_train_steps=7)
    seen = scripted(word, [0.1, 0.5, 0.5, 0.2])
    (learned,) = trained(base, tmp_path, word)
    assert [probe["step"] for probe in word.schedule.probes] == [2, 4, 6, 7]  # and the last one, wherever it is
    assert torch.equal(learned, seen[1])
    assert not torch.equal(seen[1], seen[2])
    ended = how_it_ended(word)
    assert (ended["picked"]["step"], ended["picked"]["score"], ended["optimizer_steps"]) == (4, 0.5, 7)


def test_a_probe_is_the_two_scores_of_pictures_with_the_word(base: BaseModel, tiny_scorer_folder: Path) -> None:
    rules = pick(tiny_scorer_folder)
    word = probed(base, make(base, "textual_inversion"), rules, PICTURES, "cpu")
    rows = word.trainable.rows.detach()
    assert word.schedule.probe
    found = word.schedule.probe(Learned("<fox>", rows))
    scorer, (likeness, edits) = load_scorer(rules.model, None, "cpu"), PROBES["object"]

    def features(prompt: str) -> Tensor:
        drawn = generate(base, [prompt.format("<fox>")] * 2, [FIRST_SEED, FIRST_SEED + 1], {"<fox>": rows}, 2, 2.0, 8)
        return scorer.image_features(list(drawn))

    faithful = reconstruction(features(likeness), scorer.image_features(PICTURES))
    editable = fmean(editability(features(prompt), scorer.text_features([text])[0]) for prompt, text in edits.items())
    assert found["reconstruction"] == pytest.approx(faithful, abs=1e-3)
    assert found["editability"] == pytest.approx(editable, abs=1e-3)
    assert found["score"] == pytest.approx(max(faithful * editable, 0) ** 0.5, abs=1e-3)
    assert word.schedule.probe(Learned("<fox>", rows)) == found


def test_looking_at_scores_changes_no_step(base: BaseModel, tiny_scorer_folder: Path, tmp_path: Path) -> None:
    plain, watched = make(base, "norm_held", "style"), probed(base, make(base, "norm_held", "style"), pick(tiny_scorer_folder), PICTURES, "cpu")
    trained(base, tmp_path / "plain", plain)
    trained(base, tmp_path / "watched", watched)
    assert torch.equal(plain.trainable.rows, watched.trainable.rows)
    assert torch.equal(plain.trainable.average, watched.trainable.average)
    assert len(watched.schedule.probes) == 3


def test_a_resumed_word_remembers_its_best(base: BaseModel, tmp_path: Path) -> None:
    first, second = (make(base, "textual_inversion", max_train_steps=8) for _ in range(2))
    seen = scripted(first, [0.9, 0.1, 0.2, 0.3])

    def interrupt(word: Training) -> None:
        if word.schedule.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(base, tmp_path, first, on_step=interrupt)
    scripted(second, [0.2, 0.3])
    list(train(base, [second], {second.concept: tmp_path / "textual_inversion.pt"}, 2))
    assert [probe["score"] for probe in second.schedule.probes] == [0.9, 0.1, 0.2, 0.3]
    assert torch.equal(second.learned.rows, seen[0])
