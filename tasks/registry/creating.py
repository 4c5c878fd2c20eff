"""Create the model of a concept and its versions in the registry."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tasks.faults import point
from tasks.registry import connection, reading
from tasks.registry.description import NOTE, describe_concept, describe_run, describe_version

if TYPE_CHECKING:  # mlflow takes seconds to import, and stages that do not publish never need it
    from mlflow.entities import LoggedModel


def create_version(entry: reading.Entry, model: "LoggedModel", tags: Mapping[str, str], metrics: Mapping[str, float]) -> int:
    """Create the version of a concept that a model becomes, and return its number, or that of an older version with the same bytes.

    The tags are created with the version, so a version with a digest has them all.
    """
    import mlflow

    client, name, run_id = mlflow.MlflowClient(), connection.model_name(entry.concept), str(model.source_run_id)
    if not entry.description:
        describe_model(entry, describe_concept(entry.concept, tags, run_id))
    description = describe_version(entry.concept, tags, metrics, model.model_id, run_id)
    written = {key: value for key, value in tags.items() if value}  # an empty one stands for a score that is not measured
    source = {"source": f"models:/{model.model_id}", "model_id": model.model_id, "run_id": run_id}
    number = int(client.create_model_version(name, **source, tags=written, description=description).version)
    point("version created, no alias")
    if number > entry.newest + 1 and (twin := reading.find_version(entry.concept, tags["digest"])) and int(twin.version) != number:
        client.delete_model_version(name, str(number))  # another machine published it meanwhile
        return int(twin.version)
    links = json.dumps([{"name": name, "version": number}])  # as MLflow's register_model writes them
    client.set_logged_model_tags(model.model_id, {"mlflow.modelVersions": links, NOTE: describe_run(entry.concept, tags, model.model_id, run_id)})
    return number


def describe_model(entry: reading.Entry, description: str) -> None:
    """Create the registered model of a concept, unless it exists or another machine creates it meanwhile; give it a text if it has none."""
    import mlflow
    from mlflow.exceptions import MlflowException

    client, name = mlflow.MlflowClient(), connection.model_name(entry.concept)
    if entry.description is not None:  # it is from an older release
        client.update_registered_model(name, description)
        return
    try:
        client.create_registered_model(name, description=description)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
