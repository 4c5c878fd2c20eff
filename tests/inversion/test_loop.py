"""Training words: it learns, and a word is the same whatever happens around it."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tasks.diffusion.base_model import BaseModel
from tasks.diffusion.words import initializer_row
from tasks.inversion.checkpoints import read_checkpoint, save_checkpoints
from tasks.inversion.data import fixed_batch
from tasks.inversion.loop import train
from tasks.inversion.options import EarlyStop
from tasks.inversion.passes import batch_losses, drawn
from tasks.inversion.training import Training, new_training

TEMPLATES = ("a photo of a {}", "a painting of a {}")


def make(
    base: BaseModel,
    concept: str = "fox",
    seed: int = 0,
    num_vectors: int = 1,
    max_train_steps: int = 6,
    learning_rate: float = 5e-3,
    timesteps: tuple[float, float] = (0.0, 1.0),
    average_last: float = 0.0,
    early_stop: EarlyStop | None = None,
) -> Training:
    """A word on two invented pictures of its own."""
    shape = (2, *base.latent_shape)
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(len(concept))), torch.full(shape, 0.1)
    coarse = "dog" if concept == "fox" else "cat"
    return new_training(
        base,
        concept,
        f"<{concept}>",
        coarse,
        "object",
        TEMPLATES,
        latents,
        num_vectors,
        2,
        learning_rate,
        max_train_steps,
        timesteps,
        average_last,
        seed,
        early_stop,
    )


def trained(base: BaseModel, folder: Path, *words: Training, on_step: Callable[[Training], object] = lambda word: None) -> list[Tensor]:
    """Train words, with a checkpoint at every second step, and return their rows."""
    checkpoints = {word.concept: folder / f"{word.concept}.pt" for word in words}
    list(train(base, words, checkpoints, 2, on_step=on_step))
    return [word.learned.rows.clone() for word in words]


def fixed_loss(base: BaseModel, word: Training) -> float:
    """The loss on pictures, captions, noise and timesteps that are the same at every call."""
    state, batch_size = word.data.generator.get_state(), word.data.batch_size
    word.data.generator.manual_seed(99)
    word.data.batch_size = 64
    with torch.no_grad():
        loss = float(batch_losses(base, [word], [drawn(base, word)], most=64)[0])
    word.data.generator.set_state(state)
    word.data.batch_size = batch_size
    return loss


def test_the_loss_falls(base: BaseModel, tmp_path: Path) -> None:
    word = make(base, max_train_steps=30, learning_rate=2e-2)
    before = fixed_loss(base, word)
    trained(base, tmp_path, word)
    assert fixed_loss(base, word) < before - 1e-4


def test_the_loss_does_not_fall_without_training(base: BaseModel) -> None:
    word = make(base)
    assert fixed_loss(base, word) == fixed_loss(base, word)


@pytest.mark.parametrize("num_vectors", [1, 2])
def test_a_word_in_company_is_the_word_alone(base: BaseModel, tmp_path: Path, num_vectors: int) -> None:
    alone = trained(base, tmp_path / "alone", make(base, num_vectors=num_vectors))[0]
    longer, shorter = make(base, "teapot", seed=3, num_vectors=2, max_train_steps=9), make(base, "owls", max_train_steps=3)
    company = longer, make(base, num_vectors=num_vectors), shorter
    together = trained(base, tmp_path / "together", *company)[1]
    # Kernels sum in another order in a larger batch; six steps of 5e-3 moved the rows by about 3e-2.
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    assert (alone[0] - initializer_row(base, "dog")).abs().max() > 1e-2
    assert [word.schedule.step for word in company] == [9, 6, 3]


def test_two_runs_are_the_same_bytes_and_another_seed_is_not(base: BaseModel, tmp_path: Path) -> None:
    first, again, other = (trained(base, tmp_path / str(run), make(base, seed=seed))[0] for run, seed in enumerate([0, 0, 1]))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_training_ignores_the_global_generator(base: BaseModel, tmp_path: Path) -> None:
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        results.append(trained(base, tmp_path / str(seed), make(base))[0])
    assert torch.equal(*results)


@pytest.mark.parametrize("concepts", [["fox"], ["fox", "teapot"]])
def test_resumed_words_are_the_undisturbed_words(base: BaseModel, tmp_path: Path, concepts: list[str]) -> None:
    def words() -> list[Training]:
        return [make(base, concept, average_last=0.5) for concept in concepts]

    undisturbed = trained(base, tmp_path / "undisturbed", *words())
    steps = []

    def interrupt(word: Training) -> None:
        if word.schedule.step == 5:  # between two checkpoints: step 4 is the last that is kept
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(base, tmp_path / "resumed", *words(), on_step=interrupt)
    resumed = trained(base, tmp_path / "resumed", *words(), on_step=lambda word: steps.append(word.schedule.step))
    assert steps == [step for step in (5, 6) for _ in concepts]
    assert all(map(torch.equal, resumed, undisturbed))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.6, 1.0])
def test_what_is_learned_is_as_old_as_the_mean_of_the_last_rows(base: BaseModel, share: float) -> None:
    word, steps = make(base, average_last=share), 2000
    for step in range(1, steps + 1):
        with torch.no_grad():
            word.trainable.rows.fill_(step)
        word.count_step()
    assert float(word.learned.rows.mean()) == pytest.approx(steps * (1 - share / 2), rel=2e-3)


def test_without_an_average_the_last_rows_are_learned(base: BaseModel, tmp_path: Path) -> None:
    word = make(base, average_last=0.0)
    (learned,) = trained(base, tmp_path, word)
    assert torch.equal(learned, word.trainable.rows)


@pytest.mark.parametrize(("steps", "share"), [(1, 0.4), (3, 0.01), (3, 1.0)])
def test_however_short_something_is_learned(base: BaseModel, tmp_path: Path, steps: int, share: float) -> None:
    word = make(base, max_train_steps=steps, average_last=share)
    (learned,) = trained(base, tmp_path, word)
    assert (learned - word.trainable.rows).norm() < 0.3 * word.trainable.rows.norm()


def test_a_finished_word_is_not_trained_again(base: BaseModel, tmp_path: Path) -> None:
    finished = trained(base, tmp_path, make(base))[0]
    assert torch.equal(trained(base, tmp_path, make(base), on_step=lambda word: pytest.fail("a step was taken"))[0], finished)


def test_a_word_with_a_nan_loss_leaves_and_the_others_go_on(base: BaseModel, tmp_path: Path) -> None:
    healthy = trained(base, tmp_path / "alone", make(base))[0]
    sick, other = make(base, "teapot"), make(base)
    states = []

    def poison(word: Training) -> None:
        if word is sick:
            states.append(word.trainable.rows.detach().clone())
            if word.schedule.step == 4:
                word.data.means[:] = float("nan")

    _, together = trained(base, tmp_path / "together", sick, other, on_step=poison)
    assert sick.error
    assert "teapot" in sick.error
    assert "step 5" in sick.error
    assert other.error is None
    assert other.schedule.step == 6
    torch.testing.assert_close(together, healthy, atol=1e-5, rtol=0)
    kept = torch.load(tmp_path / "together/teapot.pt", weights_only=True)
    assert kept["step"] == 4
    assert torch.equal(kept["rows"], states[3])


@pytest.mark.parametrize("at_once", [1, 2, None])
def test_a_word_that_ends_makes_place_for_the_next(base: BaseModel, tmp_path: Path, at_once: int | None) -> None:
    def words() -> list[Training]:
        return [make(base, name, seed=index, max_train_steps=steps) for index, (name, steps) in enumerate([("fox", 3), ("teapot", 7), ("owls", 2)])]

    alone = [trained(base, tmp_path / word.concept, word)[0] for word in words()]
    queue, seen, ended = words(), [], []
    paths = {word.concept: tmp_path / f"queue/{word.concept}.pt" for word in queue}
    for word in train(base, queue, paths, 100, at_once, lambda word: seen.append(word.concept)):
        ended.append((word.concept, len(seen)))
    for word, expected in zip(queue, alone, strict=True):
        torch.testing.assert_close(word.learned.rows, expected, atol=1e-5, rtol=0)
    order = {
        1: [("fox", 3), ("teapot", 10), ("owls", 12)],
        2: [("fox", 6), ("owls", 10), ("teapot", 12)],  # owls came when fox had gone
        None: [("owls", 6), ("fox", 8), ("teapot", 12)],
    }
    assert ended == order[at_once]


@pytest.mark.parametrize("most", [1, 3])
def test_a_batch_in_parts_is_the_batch(base: BaseModel, most: int) -> None:
    def gradients(most: int) -> list[Tensor]:
        words = [make(base, "fox"), make(base, "teapot", num_vectors=2)]
        losses = batch_losses(base, words, [drawn(base, word) for word in words], most)
        return [losses, *(word.trainable.rows.grad for word in words if word.trainable.rows.grad is not None)]

    whole, parts = gradients(64), gradients(most)
    assert len(whole) == 3
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, atol=1e-7, rtol=1e-4)


def test_too_little_memory_for_a_pass_halves_it(base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, passes, denoise = trained(base, tmp_path / "whole", make(base, max_train_steps=2))[0], [], BaseModel.denoise

    def small(self: BaseModel, latents: Tensor, *rest: Any) -> Tensor:
        passes.append(len(latents))
        if len(latents) > 1:
            raise torch.cuda.OutOfMemoryError
        return denoise(self, latents, *rest)

    monkeypatch.setattr(BaseModel, "denoise", small)
    torch.testing.assert_close(trained(base, tmp_path / "halved", make(base, max_train_steps=2))[0], expected, atol=1e-6, rtol=0)
    assert passes == [2, 1, 1, 1, 1]


RULES = EarlyStop(every=2, pictures=3, window=3, ratio=0.02)


def test_a_word_stops_when_the_last_losses_hardly_differ(base: BaseModel) -> None:
    word = make(base, early_stop=RULES)
    for loss in (8.0, 4.0, 2.0, 1.1, 1.0):
        word.schedule.watch(loss)
        assert not word.schedule.settled
    word.schedule.watch(1.05)  # 2, 1.1, 1, 1.05: the last three are alike
    assert word.schedule.settled
    assert word.done


def test_an_early_stop_ends_the_training_and_says_so(base: BaseModel, tmp_path: Path) -> None:
    easy = EarlyStop(every=2, pictures=3, window=2, ratio=0.99)
    word, other = make(base, max_train_steps=200, early_stop=easy), make(base, "teapot", max_train_steps=10)
    trained(base, tmp_path, word, other)
    assert word.schedule.settled
    assert word.schedule.step < 200
    assert word.schedule.step == 2 * len(word.schedule.fixed_losses)
    assert (other.schedule.settled, other.schedule.step) == (False, 10)


def test_looking_changes_nothing(base: BaseModel, tmp_path: Path) -> None:
    never = EarlyStop(every=1, pictures=3, window=50, ratio=0.1)
    watched = make(base, early_stop=never)
    (rows,) = trained(base, tmp_path / "watched", watched)
    assert torch.equal(rows, trained(base, tmp_path / "alone", make(base))[0])
    assert len(set(watched.schedule.fixed_losses)) == 6
    one, other = (fixed_batch(watched.data, 6, 3, base.noise, base.device) for _ in range(2))
    assert all(torch.equal(getattr(one, name), getattr(other, name)) for name in vars(one))
    assert one.timesteps.tolist() == [166, 500, 833]


def test_a_resumed_word_stops_where_the_undisturbed_one_does(base: BaseModel, tmp_path: Path) -> None:
    def word() -> Training:
        return make(base, max_train_steps=60, early_stop=EarlyStop(every=1, pictures=3, window=4, ratio=0.3))

    undisturbed, first, second = word(), word(), word()
    trained(base, tmp_path / "undisturbed", undisturbed)

    def interrupt(word: Training) -> None:
        if word.schedule.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(base, tmp_path / "resumed", first, on_step=interrupt)
    trained(base, tmp_path / "resumed", second)
    assert second.schedule.step == undisturbed.schedule.step
    assert second.schedule.fixed_losses == undisturbed.schedule.fixed_losses
    assert second.schedule.recorded == undisturbed.schedule.recorded
    assert [step for step, _, _ in second.schedule.recorded] == list(range(1, second.schedule.step + 1))
    assert torch.equal(second.learned.rows, undisturbed.learned.rows)


def test_a_damaged_checkpoint_is_left_out(base: BaseModel, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (expected,) = trained(base, tmp_path / "whole", make(base))
    checkpoint = tmp_path / "damaged" / "fox.pt"
    checkpoint.parent.mkdir()
    for damaged in (b"", b"no checkpoint", (tmp_path / "whole" / "fox.pt").read_bytes()[:100]):
        checkpoint.write_bytes(damaged)
        assert torch.equal(trained(base, tmp_path / "damaged", make(base))[0], expected)
        assert f"{checkpoint} cannot be read" in caplog.text
        caplog.clear()


def test_a_checkpoint_is_of_the_step_at_which_the_company_changed(base: BaseModel, tmp_path: Path) -> None:
    def interrupt(word: Training) -> None:
        if word.schedule.step == 4:  # fox ended at its third step, and every second step has a checkpoint
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(base, tmp_path, make(base, "fox", max_train_steps=3), make(base, "owl", max_train_steps=6), on_step=interrupt)
    state = read_checkpoint(tmp_path / "owl.pt")
    assert state and state["step"] in (3, 4) and not list(tmp_path.glob(".*"))


def test_checkpoints_of_a_step_move_into_place_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / "fox.pt", tmp_path / "owl.pt"]
    save_checkpoints({path: {"step": 1} for path in paths})
    monkeypatch.setenv("WORDMINT_FAULT", "one checkpoint in place, the next not=full")
    with pytest.raises(OSError, match="No space"):
        save_checkpoints({path: {"step": 2} for path in paths})
    monkeypatch.delenv("WORDMINT_FAULT")
    assert [read_checkpoint(path) for path in paths] == [{"step": 2}] * 2
    assert sorted(tmp_path.iterdir()) == paths


def test_a_checkpoint_that_cannot_be_written_is_heard_of(base: BaseModel, tmp_path: Path) -> None:
    (tmp_path / "full").write_text("a file where the folder should be")
    with pytest.raises(OSError, match="full"):
        trained(base, tmp_path / "full", make(base, max_train_steps=6))


def test_the_denoiser_may_be_in_halves(base: BaseModel, tmp_path: Path) -> None:
    exact = trained(base, tmp_path / "exact", make(base))[0]
    halves = replace(base, denoiser=deepcopy(base.denoiser).to(torch.bfloat16))
    word = make(halves)
    rough = trained(halves, tmp_path / "halves", word)[0]
    assert rough.dtype == torch.float32
    moved = exact - initializer_row(base, "dog")
    assert (rough - exact).norm() < 0.3 * moved.norm()


def test_rows_are_not_pulled_towards_zero(base: BaseModel) -> None:
    word = make(base, learning_rate=0.5)
    before = word.trainable.rows.detach().clone()
    word.trainable.rows.grad = torch.zeros_like(word.trainable.rows)
    word.trainable.optimizer.step()
    assert torch.equal(word.trainable.rows, before)


def test_further_vectors_start_apart_but_near(base: BaseModel) -> None:
    row, rows = initializer_row(base, "dog"), make(base, num_vectors=3).trainable.rows.detach()
    assert torch.equal(rows[0], row)
    apart = torch.cdist(rows, rows)[torch.triu_indices(3, 3, 1).unbind()] / row.norm()
    assert ((apart > 1e-3) & (apart < 0.05)).all()
    assert torch.equal(make(base, num_vectors=3).trainable.rows, rows)
    assert not torch.equal(make(base, num_vectors=3, seed=1).trainable.rows, rows)


def test_a_batch_is_drawn_from_the_words_own_pictures_and_captions(base: BaseModel) -> None:
    word = make(base)
    word.data.batch_size, word.data.stds = 64, torch.zeros_like(word.data.stds)
    batch = drawn(base, word)
    sources = [[index for index, mean in enumerate(word.data.means) if torch.equal(latents, mean)] for latents in batch.latents]
    assert all(len(found) == 1 for found in sources)
    assert {found[0] for found in sources} == {0, 1}
    assert len(set(map(tuple, batch.input_ids[:, 0].tolist()))) == len(TEMPLATES)
    assert (batch.input_ids[:, 0] == len(base.tokenizer)).sum(dim=1).tolist() == [1] * 64


@pytest.mark.parametrize("timesteps", [(0.0, 1.0), (0.3, 1.0), (0.5, 0.6)])
def test_timesteps_are_spread_evenly_over_the_words_range(base: BaseModel, timesteps: tuple[float, float]) -> None:
    word = make(base, timesteps=timesteps)
    word.data.batch_size = 4
    timesteps_drawn = torch.stack([drawn(base, word).timesteps for _ in range(200)])
    edges = 1000 * torch.linspace(*timesteps, 5)
    assert (timesteps_drawn >= edges[:-1].floor()).all()
    assert (timesteps_drawn <= edges[1:]).all()
    assert (timesteps_drawn.float().mean(dim=0) - (edges[:-1] + edges[1:]) / 2).abs().max() < 0.15 * (edges[1] - edges[0])
