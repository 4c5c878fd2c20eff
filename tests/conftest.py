"""What all tests share: no telemetry and no network, and tiny models with random weights, built once."""

import os

# Before anything else: Prefect, MLflow, DVC and the hub's client read these when they are imported.
os.environ.update(
    {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DVC_NO_ANALYTICS": "1",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "HF_HUB_OFFLINE": "1",
    }
)

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tasks.diffusion.base_model import BaseModel, load_base_model
from tests.tiny import save_tiny_pipeline, save_tiny_scorer


@pytest.fixture(scope="session")
def tiny_base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder that makes pictures of 16 x 16 px."""
    return save_tiny_pipeline(tmp_path_factory.mktemp("tiny-base"))


@pytest.fixture(scope="session")
def tiny_scorer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An open_clip folder with a random CLIP."""
    return save_tiny_scorer(tmp_path_factory.mktemp("tiny-scorer"))


@pytest.fixture(scope="session")
def base(tiny_base_folder: Path) -> BaseModel:
    """The tiny base model on the CPU; `undamaged` watches that no test changes it for the next."""
    return load_base_model(str(tiny_base_folder), None, "cpu")


@pytest.fixture(autouse=True)
def undamaged(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test that changes the shared base model."""
    if "base" not in request.fixturenames:
        yield
        return
    model = request.getfixturevalue("base")
    before = fingerprint(model)
    yield
    assert fingerprint(model) == before, "this test changed the shared base model"


def fingerprint(model: BaseModel) -> str:
    """Return one digest over all that a test could change: weights, gradients, the embedding's class, the vocabulary and the schedule."""
    embedding = [type(encoder.table).__name__ for encoder in model.text_encoders]
    digest = hashlib.sha256(repr((embedding, len(model.tokenizer), dict(model.noise_scheduler.config))).encode())
    for part in (*(encoder.model for encoder in model.text_encoders), model.vae, model.unet):
        for name, value in part.state_dict(keep_vars=True).items():
            flags = repr((name, value.requires_grad, value.grad is None, part.training)).encode()
            digest.update(flags + value.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
