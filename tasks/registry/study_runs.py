"""The runs of a study in MLflow, which are no concepts and are never registered."""

import hashlib
import json
from collections.abc import Mapping

from tasks.registry import connection

STUDY = "wordmint-study"


def log_cells(numbers: Mapping[str, Mapping[str, float]]) -> None:
    """Log each cell of a study as a run of the experiment `wordmint-study`, unless it has a run with the same numbers. Registers nothing."""
    import mlflow

    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name(STUDY)
    experiment_id = experiment.experiment_id if experiment else client.create_experiment(STUDY)
    logged = {run.data.tags.get("digest") for run in client.search_runs([experiment_id], max_results=50_000)}
    for cell, metrics in numbers.items():
        digest = hashlib.sha256(json.dumps([cell, metrics], sort_keys=True).encode()).hexdigest()
        if digest not in logged:
            with mlflow.start_run(experiment_id=experiment_id, run_name=cell, tags={"digest": digest, **connection.who()}):
                mlflow.log_metrics(dict(metrics))
