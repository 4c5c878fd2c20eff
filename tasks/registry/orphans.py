"""Runs and models that an interrupted registration left behind."""

from collections.abc import Mapping
from typing import Any

from tasks.faults import point
from tasks.registry import connection, reading


def orphans(minutes: float) -> list[dict[str, Any]]:
    """Return the runs and models that interrupted registrations left behind, as {run_id, name, model_ids, created}.

    A model is logged before it is registered, so a run that is younger than `minutes` may still become a version and is left out. So
    is a run that any version of any registered model comes from, also one that is no concept.
    """
    import mlflow
    from mlflow.utils.time import get_current_time_millis

    client = mlflow.MlflowClient()
    experiment = connection.experiment_id(client)
    needed, models = set[str](), dict[str, list[str]]()
    sources = {str(version.source).removeprefix("models:/") for version in connection.pages(client.search_model_versions, "")}
    paths = [source for source in sources if "/" in source]  # of versions that name no logged model
    token = None
    while True:
        page = client.search_logged_models([experiment], page_token=token)
        for model in page:
            models.setdefault(str(model.source_run_id), []).append(model.model_id)
            if model.model_id in sources or any(source.startswith(model.artifact_location) for source in paths):
                needed.add(str(model.source_run_id))
        if not (token := page.token):
            break
    abandoned, before = [], get_current_time_millis() - minutes * 60_000
    for run in connection.pages(lambda condition, **paging: client.search_runs([experiment], condition, **paging), ""):
        ours = run.info.run_name.startswith(connection.PREFIX)  # a person may log other runs in this experiment
        if ours and run.info.run_id not in needed and run.info.start_time < before:
            model_ids = models.get(run.info.run_id, [])
            created = reading.moment(run.info.start_time)
            abandoned.append({"run_id": run.info.run_id, "name": run.info.run_name, "model_ids": model_ids, "created": created})
    return sorted(abandoned, key=lambda orphan: orphan["created"])


def delete_orphan(orphan: Mapping[str, Any]) -> None:
    """Delete one of `orphans` with its files."""
    import mlflow
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    client = mlflow.MlflowClient()
    for model_id in orphan["model_ids"]:
        get_artifact_repository(str(client.get_logged_model(model_id).artifact_location)).delete_artifacts()
        client.delete_logged_model(model_id)
    point("models of an orphan deleted, its run not")
    get_artifact_repository(str(client.get_run(orphan["run_id"]).info.artifact_uri)).delete_artifacts()
    client.delete_run(orphan["run_id"])
