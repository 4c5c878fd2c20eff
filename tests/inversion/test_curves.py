"""training.csv: what it says of a training, of its phases, and of a long one."""

from dataclasses import replace
from pathlib import Path

import pytest

from tasks.diffusion.base_model import BaseModel
from tasks.diffusion.per_layer import mean_norm
from tasks.inversion.curves import COLUMNS, MOST_POINTS, curves_csv, read_curves, thinned
from tasks.inversion.loop import train
from tasks.inversion.options import EarlyStop
from tasks.inversion.schedule import MOST_ROWS, Schedule
from tasks.inversion.training import Training
from tests.support.words import make

HEADER = f"step,{','.join(COLUMNS)}"


def curves_of(folder: Path, *schedules: Schedule) -> dict[str, list[tuple[int, float]]]:
    path = folder / "training.csv"
    path.write_bytes(curves_csv(schedules))
    return {name: list(curve) for name, curve in read_curves(path).items()}


def test_a_row_has_what_there_is_at_its_step() -> None:
    schedule = Schedule(4, EarlyStop(every=2, pictures=1, window=9, ratio=0.1), step=4, fixed_losses=[0.5, 0.25])
    for step in range(1, 5):
        schedule.record(step, step / 3, 1.0)
    schedule.probes = [{"step": 3, "reconstruction": 0.7, "editability": 0.5, "score": 0.6}]
    rows = ["1,0.333333,1,,,,", "2,0.666667,1,0.5,,,", "3,1,1,,0.7,0.5,0.6", "4,1.33333,1,0.25,,,"]
    assert curves_csv([schedule]).decode().splitlines() == [HEADER, *rows]


def test_a_later_phase_counts_its_steps_on(tmp_path: Path) -> None:
    word, tuning = Schedule(2, step=2), Schedule(1, step=1)
    word.record(1, 0.1, 1.0)
    word.record(2, 0.2, 1.5)
    tuning.record(1, 0.4, 1.5)
    assert curves_of(tmp_path, word, tuning) == {"loss": [(1, 0.1), (2, 0.2), (3, 0.4)], "norm": [(1, 1.0), (2, 1.5), (3, 1.5)]}


def test_a_word_without_a_training_has_no_curves(tmp_path: Path) -> None:
    assert curves_csv([]).decode() == HEADER + "\n"
    assert curves_of(tmp_path) == {}
    assert read_curves(tmp_path / "of-an-earlier-build.csv") == {}


@pytest.mark.parametrize("early_stop", [None, EarlyStop(every=100, pictures=1, window=99, ratio=0.1)])
def test_a_long_training_has_a_row_for_every_few_steps(tmp_path: Path, early_stop: EarlyStop | None) -> None:
    schedule = Schedule(3 * MOST_ROWS - 1, early_stop)
    for step in range(1, schedule.max_train_steps + 1):
        schedule.step = step
        schedule.record(step, float(step), 1.0)
    schedule.fixed_losses = [0.5] * (schedule.step // 100) if early_stop else []
    curves = curves_of(tmp_path, schedule)
    assert [step for step, _ in curves["loss"]] == [*range(3, 3 * MOST_ROWS, 3), 3 * MOST_ROWS - 1]
    assert curves["loss"][:2] == [(3, 2.0), (6, 5.0)]  # the mean of the steps since the row before
    assert curves["loss"][-1][1] == pytest.approx(3 * MOST_ROWS - 1.5)
    assert [step for step, _ in curves.get("fixed_batch_loss", [])] == (list(range(100, 3 * MOST_ROWS, 100)) if early_stop else [])


@pytest.mark.parametrize("points", [1, MOST_POINTS, MOST_POINTS + 1, 10 * MOST_POINTS])
def test_a_thinned_curve_keeps_its_mean_and_its_end(points: int) -> None:
    curve = [(step, float(step % 7)) for step in range(1, points + 1)]
    thin = thinned(curve)
    assert len(thin) <= MOST_POINTS and thin[-1][0] == points
    assert points > MOST_POINTS or thin == curve
    if points % len(thin) == 0:
        assert sum(value for _, value in thin) / len(thin) == pytest.approx(sum(value for _, value in curve) / points)
    assert thinned([]) == []


def test_the_norm_is_that_of_what_would_be_published(base: BaseModel, tmp_path: Path) -> None:
    words = [replace(make(base, name), concept=f"{name}-{number}") for number, name in enumerate(("per_image", "lora", "extended"))]
    checkpoints = {word.concept: tmp_path / f"{word.concept}.pt" for word in words}
    for word in train(base, words, checkpoints, 2):
        assert word.result
        curves = curves_of(tmp_path, *word.schedules)
        assert curves["norm"][-1][1] == pytest.approx(float(mean_norm(word.result.rows, sum(base.widths))), rel=1e-5)
        assert [step for step, _ in curves["loss"]] == list(range(1, sum(schedule.step for schedule in word.schedules) + 1))
        assert all(value > 0 for _, value in curves["loss"])


def test_a_checkpoint_of_an_earlier_release_has_no_record(base: BaseModel) -> None:
    first, second = make(base, "norm_held"), make(base, "norm_held")
    first.schedule.step = 3
    state = {name: value for name, value in first.state().items() if name not in ("recorded", "unrecorded")}
    second.restore(state)
    assert (second.schedule.step, second.schedule.recorded) == (3, [])


def test_the_word_and_its_tuning_are_two_schedules(base: BaseModel) -> None:
    word = make(base, "textual_inversion")
    tuning = Training("fox", word.data, word.trainable, Schedule(3), before=word)
    assert tuning.schedules == [word.schedule, tuning.schedule]
