"""Devices by their names."""

import pytest
import torch

from tasks.diffusion.devices import fast_bfloat16, pick_device


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "mps"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(ValueError, match=rf"runtime\.device is {device}, but this machine has cpu.*; take one of these or auto"):
        pick_device(device)


def test_a_macs_gpu_is_taken_where_there_is_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert (pick_device("auto"), pick_device("mps"), pick_device("cpu")) == ("mps", "mps", "cpu")
    assert not fast_bfloat16(torch.device("mps"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert pick_device("auto") == "cuda"
