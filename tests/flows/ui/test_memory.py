"""What the app keeps in memory."""

from functools import lru_cache

import pytest

from flows.ui.memory import let_go


@pytest.mark.parametrize(("device", "kept"), [("cpu", 1), ("cuda", 0), ("cuda:1", 0)])
def test_the_models_leave_a_gpu_and_stay_on_a_cpu(monkeypatch: pytest.MonkeyPatch, device: str, kept: int) -> None:
    @lru_cache
    def load() -> object:
        return object()

    monkeypatch.setattr("tasks.diffusion.devices.pick_device", lambda name: name)
    for loader in ("diffusion.base_model.load_base_model", "similarity.scorer.load_scorer", "similarity.eye.load_eye"):
        monkeypatch.setattr(f"tasks.{loader}", load)
    load()
    let_go(device)
    assert load.cache_info().currsize == kept
