"""The folder of a logged model, as MLflow loads it: the word's files, the code that draws with it, and what they need."""

import logging
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.words.embedding_file import files_of, layers_in

if TYPE_CHECKING:  # mlflow takes seconds to import, and stages that do not publish never need it
    from mlflow.entities import LoggedModel
    from mlflow.models import ModelSignature


CODE = Path(__file__).with_name("registered_model.py")
ADAPTER_CODE = Path(__file__).with_name("registered_adapter.py")
RUNS_ON = ("mlflow", "torch", "diffusers", "transformers", "safetensors")


def save_folder(folder: Path, embedding: Path, model_config: Mapping[str, Any], model: "LoggedModel") -> None:
    """Write a learned embedding to a folder that does not exist yet, as MLflow's `pyfunc.log_model` would upload it for `model`.

    `log_model` itself would draw a picture to test the example, and read its run and its model back several times.
    """
    import mlflow
    from mlflow.models import Model

    files = files_of(embedding)
    record = Model(artifact_path=model.artifact_location, model_uuid=model.model_id, model_id=model.model_id, run_id=model.source_run_id)
    for name in ("mlflow.utils.environment", "mlflow.pyfunc"):  # for every version, one warns that uv's environment has no pip, one tells a step
        logging.getLogger(name).setLevel(logging.ERROR)
    mlflow.pyfunc.save_model(
        folder,
        mlflow_model=record,
        python_model=str(CODE),
        artifacts={path.stem: str(path) for path in (*files, *([ADAPTER_CODE] if len(files) > 1 or layers_in(embedding) > 1 else []))},
        model_config=dict(model_config),
        pip_requirements=requirements(),
        signature=signature(model_config),
        input_example=[f"a photo of {model_config['placeholder_token']}"],
    )
    record.flavors["python_function"]["model_code_path"] = CODE.name  # MLflow wrote its path on this machine
    record.save(str(folder / "MLmodel"))


@cache
def requirements() -> list[str]:
    """Return what a model runs on, with the versions that are installed here."""
    return [f"{package}=={package_version(package).split('+')[0]}" for package in RUNS_ON]


def signature(model_config: Mapping[str, Any]) -> "ModelSignature":
    """Return a signature with prompts in and PNG bytes out; the column has no name so that a plain list of prompts passes too.

    The defaults of its parameters are the settings that the version was sampled with.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    from tasks.registry.registered_model import defaults_of

    kinds = {int: "long", float: "double"}
    parameters = ParamSchema([ParamSpec(key, kinds[type(value)], value) for key, value in defaults_of(model_config).items()])
    return ModelSignature(inputs=Schema([ColSpec("string")]), outputs=Schema([ColSpec("binary")]), params=parameters)
