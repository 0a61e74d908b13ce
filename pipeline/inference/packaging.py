"""A trained network as an MLflow model that carries the code which predicts with it.

The code goes along as a package named after its content's hash, so that it meets neither a module
of the consumer's nor the code of another release.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import ReleaseError
from pipeline.files import sha256_folder
from pipeline.inference.graph import read_conventions
from pipeline.inference.model_files import MODEL_FILES, model_sha256
from pipeline.inference.released import MODEL_SHA256, NETWORK, RELEASE_SHA256

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run

MODEL_NAME = "model"
CONVENTIONS = "conventions"
"""Of the MLflow model's metadata: the names of those that it answers in, the default first."""

PACKAGED = (
    "__init__.py",
    "conventions.py",
    "errors.py",
    "inference/__init__.py",
    "inference/graph.py",
    "inference/predictor.py",
    "inference/pyfunc.py",
    "radiograph/__init__.py",
    "radiograph/fit.py",
    "radiograph/grey.py",
)
"""What of the package a prediction needs; these modules import each other relatively."""

REQUIREMENTS = ("mlflow", "numpy", "onnx", "opencv-python-headless", "openvino")


def log_model(client: MlflowClient, run: Run, network: Path, project: Path) -> str:
    """Log the network in the folder `network` as the model of an MLflow run; gives its id.

    It predicts with model.onnx and carries model.keras for training on. `project` holds the folder
    `pipeline` whose code made the network; that code goes with the model. The model's tag
    `release_sha256` is the hash of its folder as it was before it was uploaded.
    """
    from mlflow.entities import LoggedModelOutput

    with tempfile.TemporaryDirectory() as temporary:
        package = _copy_code(project, Path(temporary))
        model = client.create_logged_model(
            run.info.experiment_id,
            MODEL_NAME,
            run.info.run_id,
            params={MODEL_SHA256: model_sha256(network)},
        )
        folder = Path(temporary, MODEL_NAME)
        _build(model, network, package, folder)
        client.set_logged_model_tags(model.model_id, {RELEASE_SHA256: sha256_folder(folder)})
        client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run.info.run_id, [LoggedModelOutput(model.model_id, 0)])
    return str(model.model_id)


def _copy_code(project: Path, folder: Path) -> Path:
    """Copy PACKAGED to a package below `folder` that is named after what it holds."""
    partial = folder / "code"
    for name in PACKAGED:
        source, target = project / "pipeline" / name, partial / name
        if not source.is_file():
            raise ReleaseError(
                f"{source}: no such file, expected the code that predicts; this revision lays its "
                "code out otherwise, so run it with the code of its own",
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    return partial.rename(folder / f"lungseg_{sha256_folder(partial)[:12]}")


def _build(model: LoggedModel, network: Path, package: Path, folder: Path) -> None:
    import mlflow

    conventions = read_conventions(network / "model.onnx")
    data = folder.with_name(NETWORK)
    data.mkdir()
    for name in MODEL_FILES:
        shutil.copyfile(network / name, data / name)
    with _quiet():
        mlflow.pyfunc.save_model(
            folder,
            mlflow_model=mlflow.models.Model(
                artifact_path=model.artifact_location,
                run_id=model.source_run_id,
                model_uuid=model.model_id,
                model_id=model.model_id,
            ),
            loader_module=f"{package.name}.inference.pyfunc",  # no pickle, only text
            data_path=str(data),
            code_paths=[str(package)],
            signature=_signature(conventions[0]),
            metadata={CONVENTIONS: list(conventions)},
            pip_requirements=[
                f"{name}=={importlib.metadata.version(name)}" for name in REQUIREMENTS
            ],
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without MLflow's advice on what is given here already, and without the project's uv.lock.

    That lock, which MLflow would add when it finds one in the current folder, holds every tool
    of the project.
    """
    from mlflow.environment_variables import MLFLOW_UV_AUTO_DETECT

    before = MLFLOW_UV_AUTO_DETECT.get()
    MLFLOW_UV_AUTO_DETECT.set(False)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*An input example was not provided")
            yield
    finally:
        MLFLOW_UV_AUTO_DETECT.set(before)


def _signature(convention: str) -> object:
    """That of a model which answers in `convention` when it is asked for no other."""
    from mlflow.models import ModelSignature
    from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

    return ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("uint8"), (-1, -1, -1))]),
        outputs=Schema([TensorSpec(np.dtype("float32"), (-1, -1, -1))]),
        params=ParamSchema(
            [ParamSpec("level", "long", 0), ParamSpec("convention", "string", convention)]
        ),
    )
