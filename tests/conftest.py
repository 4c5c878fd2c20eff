"""What all tests share: no telemetry and no network, and tiny models with random weights, built once."""

import os

# Before anything else: Prefect, MLflow, DVC and the hub's client read these when they are imported.
os.environ.update(
    {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DVC_NO_ANALYTICS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "HF_HUB_OFFLINE": "1",
    }
)

import hashlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tasks.diffusion import ddim
from tasks.diffusion.base_model import BaseModel, load_base_model
from tasks.registry.database import create_database
from tasks.settings import Settings
from tests.support.catalogs import catalog, fill_catalog  # noqa: F401
from tests.support.preloaded import preloaded
from tests.support.services import bucket_server
from tests.support.tiny import FLOWS, save_tiny_pipeline, save_tiny_scorer


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
def same_on_every_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sample in float32, so that golden values and a random model's pictures are those of any processor; `test_bfloat16...` turns it on."""
    monkeypatch.setattr(ddim, "fast_bfloat16", lambda device: False)


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh MLflow database; the dozens of migrations behind it run once a session."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    create_database(path)
    return path


@pytest.fixture(scope="session")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an S3 server without buckets."""
    with bucket_server(tmp_path_factory.mktemp("moto") / "log") as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def forking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which `run` starts wordmint and Python as forks of a process that has imported all that they need."""
    with preloaded(tmp_path_factory.mktemp("preloaded"), os.environ) as programs:
        yield {"PATH": os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, migrated_database: Path, tiny_base_folder: Path) -> Settings:
    """The shipped settings in an empty catalog that has the tiny base model, pictures of a fox and a database."""
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_RUN_ID", "WORDMINT_BASE_MODEL"):
        monkeypatch.delenv(name, raising=False)
    return fill_catalog(migrated_database, tiny_base_folder)


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
    for part in (*(encoder.model for encoder in model.text_encoders), model.vae, model.denoiser):
        for name, value in part.state_dict(keep_vars=True).items():
            flags = repr((name, value.requires_grad, value.grad is None, part.training)).encode()
            digest.update(flags + value.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def pytest_unconfigure() -> None:
    """Let Prefect end its server in silence: it says so when the interpreter exits, to a stream that pytest has closed by then."""
    logging.raiseExceptions = False


@pytest.fixture(scope="module", params=["sd1", "sd2", "sdxl", "ldm", *FLOWS])
def family_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_pipeline(tmp_path_factory.mktemp(request.param), family=request.param)


@pytest.fixture(scope="module")
def family_base(family_folder: Path) -> BaseModel:
    return load_base_model.__wrapped__(str(family_folder), None, "cpu")  # past the cache, which holds the other tests' model
