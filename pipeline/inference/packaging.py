"""Logging the trained network as a self-contained MLflow model."""

from __future__ import annotations

import importlib.metadata
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.inference.model_files import MODEL_FILES, model_sha256

MODEL_NAME = "model"

PACKAGED = (
    "__init__.py",
    "errors.py",
    "model/__init__.py",
    "model/graph.py",
    "model/predictor.py",
    "model/serving.py",
)
"""What of the package a prediction needs."""

REQUIREMENTS = ("mlflow", "numpy", "onnx", "opencv-python-headless", "openvino")


def log_model(network: Path, package_root: Path, run_id: str | None = None) -> str:
    """Log the network in the folder `network` to MLflow as the pyfunc model `model`; gives its id.

    It predicts with model.onnx and carries model.keras for training on. `package_root` holds the
    folder `pipeline` whose code made the network; that code goes with the model. The run is
    `run_id`, which may be active already, or else the active run.
    """
    import mlflow

    if run_id is None or (mlflow.active_run() and mlflow.active_run().info.run_id == run_id):
        return _log(network, package_root)
    with mlflow.start_run(run_id=run_id):
        return _log(network, package_root)


def _log(network: Path, package_root: Path) -> str:
    import mlflow

    with tempfile.TemporaryDirectory() as folder, _quiet():
        package = Path(folder, "pipeline")
        for name in PACKAGED:
            target = package / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(package_root / "pipeline" / name, target)
        logged = mlflow.pyfunc.log_model(
            name=MODEL_NAME,
            python_model=str(package / "model/serving.py"),
            artifacts={name: str(network / name) for name in MODEL_FILES},
            code_paths=[str(package)],
            signature=_signature(),
            pip_requirements=[
                f"{name}=={importlib.metadata.version(name)}" for name in REQUIREMENTS
            ],
            params={"model_sha256": model_sha256(network)},
        )
    return str(logged.model_id)


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
            warnings.filterwarnings("ignore", ".*Any type hint is inferred as AnyType")
            yield
    finally:
        MLFLOW_UV_AUTO_DETECT.set(before)


def _signature() -> object:
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

    return ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("uint8"), (-1, -1, -1))]),
        outputs=Schema([TensorSpec(np.dtype("float32"), (-1, -1, -1))]),
        params=ParamSchema([ParamSpec("level", "long", 0)]),
    )
