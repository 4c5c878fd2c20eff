"""The curves of a training as step metrics of a run."""

from pathlib import Path
from typing import TYPE_CHECKING

from tasks.inversion.curves import TRAINING, read_curves, thinned

if TYPE_CHECKING:  # mlflow takes seconds to import
    from mlflow import MlflowClient

LOGGED = ("loss", "norm", "fixed_batch_loss")  # with 200 points each they fit one request, which holds 1,000 metrics


def log_curves(client: "MlflowClient", run_id: str, embedding: Path) -> None:
    """Log the curves of the training.csv beside an embedding on its run, as `training/loss` and the like; `norm` alone is the published word's."""
    from mlflow.entities import Metric
    from mlflow.utils.time import get_current_time_millis

    curves, now = read_curves(embedding.with_name(TRAINING)), get_current_time_millis()
    points = [(name, *point) for name in LOGGED if name in curves for point in thinned(curves[name])]
    if points:
        client.log_batch(run_id, metrics=[Metric(f"training/{name}", value, now, step) for name, step, value in points])
