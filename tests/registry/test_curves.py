"""The curves of a training on its version's run."""

from typing import Any

import mlflow
import pytest

from tasks import artifacts
from tasks.inversion.curves import MOST_POINTS, TRAINING
from tasks.registry import reading
from tasks.settings import Settings
from tests.support.minted import mint, record


def test_a_run_has_the_curves_of_its_training(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    mint(0)
    lines = [f"{step},{step / 8},0.75,{'0.5' if step % 10 == 0 else ''},,," for step in range(1, 2 * MOST_POINTS + 1)]
    text = "\n".join(["step,loss,norm,fixed_batch_loss,reconstruction,editability,score", *lines])
    artifacts.write_bytes(artifacts.embeddings("fox") / TRAINING, text.encode())
    batches: list[list[str]] = []
    log_batch = mlflow.MlflowClient.log_batch

    def counted(self: Any, run_id: str, metrics: Any = (), **rest: Any) -> Any:
        batches.append(sorted({metric.key for metric in metrics}))
        return log_batch(self, run_id, metrics=metrics, **rest)

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", counted)
    record(settings)
    names = ["training/fixed_batch_loss", "training/loss", "training/norm"]
    assert batches.count(names) == 1 and not any("training/loss" in batch for batch in batches if batch != names)
    client = mlflow.MlflowClient()
    version = client.get_model_version("concept.fox", "1")
    run_id = str(client.get_logged_model(reading.model_id(version)).source_run_id)
    loss = sorted((metric.step, metric.value) for metric in client.get_metric_history(run_id, "training/loss"))
    assert loss == [(step, (step - 0.5) / 8) for step in range(2, 2 * MOST_POINTS + 1, 2)]
    assert len(client.get_metric_history(run_id, "training/fixed_batch_loss")) == 2 * MOST_POINTS // 10
    assert client.get_run(run_id).data.metrics["norm"] == 0.5  # the published word's is another metric
