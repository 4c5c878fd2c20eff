"""How evenly a word's pictures spread, on labels that are given."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tasks.settings import load_settings
from tasks.using import spread
from tests.support.catalogs import ROOT


@pytest.mark.parametrize("labels", [[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 1, 1]])
def test_the_interval_stays_on_the_scale(labels: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = SimpleNamespace(image_features=lambda pictures: torch.eye(2)[labels], text_features=lambda texts: torch.eye(2))
    replaced: dict[str, Any] = {
        "load_base_model": lambda *_: SimpleNamespace(look=(1, 1.0)),
        "load_scorer": lambda *_: scorer,
        "champions": lambda *_: nullcontext({}),
        "generate": lambda *_: labels,
        "coarse_word": lambda *_: None,
    }
    for name, function in replaced.items():
        monkeypatch.setattr(spread, name, function)
    (row,) = spread.spread("a photo of a {}", ["dog"], ["red", "blue"], len(labels), 0, load_settings(ROOT / "params.yaml"))
    interval = row["evenness"]
    assert 0 <= interval["low"] <= interval["value"] <= interval["high"] <= 1
