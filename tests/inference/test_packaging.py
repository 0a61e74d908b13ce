from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import StageError
from pipeline.files import sha256_folder
from pipeline.inference.model_files import model_sha256
from pipeline.inference.packaging import PACKAGED
from pipeline.inference.released import verify_model
from pipeline.params import Params

PROJECT = Path(__file__).parents[2]

LOG = """
import json, sys
from pathlib import Path
import mlflow
from pipeline.inference.packaging import log_model

client = mlflow.MlflowClient()
experiment = client.create_experiment("packaging", artifact_location=sys.argv[3])
run = client.create_run(experiment)
model_id = log_model(client, run, Path(sys.argv[1]), Path(sys.argv[2]))
print(json.dumps([model_id, "tensorflow" in sys.modules, run.info.run_id]))
"""

PREDICT = """
import importlib.util, json, sys
sys.path[:] = [path for path in sys.path if path != sys.argv[2]]
assert importlib.util.find_spec("pipeline") is None
import mlflow, numpy
radiographs = numpy.load("radiographs.npy")
network = mlflow.pyfunc.load_model("models:/" + sys.argv[1])
numpy.save("lung.npy", network.predict(radiographs))
numpy.save("level.npy", network.predict(radiographs, params={"level": 1}))
(used,) = [name for name in sys.modules if name.endswith(".inference.predictor")]
print(json.dumps([sys.modules[used].__file__, "tensorflow" in sys.modules]))
"""


def last_line(program: str, *arguments: object, cwd: Path, **environment: str) -> list[object]:
    command = [sys.executable, "-P", "-c", program, *map(str, arguments)]
    quiet = {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **quiet, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: list[object] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.slow
def test_logged_model_predicts_where_the_project_is_not_installed(
    params: Params, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    from pipeline.inference.predictor import Predictor
    from pipeline.model.export import export_network
    from pipeline.model.keras_file import load_network, save_network
    from pipeline.model.unetpp import build_unetpp

    model, empty = tmp_path / "network", tmp_path / "empty"
    model.mkdir()
    small = {"filters": [4, 6, 8], "deep_supervision": True}
    network = build_unetpp(32, params.train.model_copy(update=small))
    save_network(network, model / "model.keras")
    export_network(network, model / "model.onnx")
    radiographs = np.random.default_rng(0).integers(0, 256, (2, 40, 50), np.uint8)
    empty.mkdir()
    np.save(empty / "radiographs.npy", radiographs)
    tracking = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}"}

    model_id, tensorflow, run_id = last_line(
        LOG, model, PROJECT, tmp_path / "artifacts", cwd=PROJECT, **tracking
    )
    used, tensorflow_to_predict = last_line(PREDICT, model_id, PROJECT, cwd=empty, **tracking)

    assert not tensorflow
    assert not tensorflow_to_predict
    assert not Path(str(used)).is_relative_to(PROJECT / "pipeline")
    lung = np.load(empty / "lung.npy")
    assert (lung.shape, lung.dtype) == ((2, 40, 50), np.float32)
    predictors = [Predictor(model / "model.onnx", level) for level in (0, 1)]
    expected = [predictor.predict(list(radiographs)) for predictor in predictors]
    np.testing.assert_array_equal(lung, expected[0])
    np.testing.assert_array_equal(np.load(empty / "level.npy"), expected[1])
    logged = MlflowClient(tracking["MLFLOW_TRACKING_URI"]).get_logged_model(str(model_id))
    code = Path(str(used)).parents[1]
    folder = code.parents[1]
    assert logged.name == "model"
    assert logged.source_run_id == run_id
    assert logged.params["model_sha256"] == model_sha256(model)
    shutil.rmtree(code / "inference/__pycache__", ignore_errors=True)
    assert verify_model(folder, logged.tags, "logged").whole
    assert code.name == f"lungseg_{sha256_folder(code)[:12]}"
    assert {file.relative_to(code).as_posix() for file in code.rglob("*.py")} == set(PACKAGED)
    assert {file.name for file in folder.iterdir()} == {
        "MLmodel",
        "code",
        "conda.yaml",
        "data",
        "python_env.yaml",
        "requirements.txt",
    }
    load_network(folder / "data/network/model.keras")
    assert "tensorflow" not in (folder / "requirements.txt").read_text()


@pytest.mark.parametrize(
    "radiographs",
    [
        np.zeros((2, 8, 8), np.float32),
        np.zeros((8, 8), np.uint8),
        np.zeros((2, 8, 8, 3), np.uint8),
        np.zeros((0, 8, 8), np.uint8),
    ],
    ids=["float", "one", "colour", "none"],
)
def test_served_model_refuses_what_are_no_grey_radiographs(radiographs: np.ndarray) -> None:
    from pipeline.inference.pyfunc import check_radiographs

    with pytest.raises(StageError, match=r"expected uint8 \(N, H, W\) with grey values 0 to 255"):
        check_radiographs(radiographs)


def test_served_model_takes_a_last_axis_of_one() -> None:
    from pipeline.inference.pyfunc import check_radiographs

    assert check_radiographs(np.zeros((2, 8, 9, 1), np.uint8)).shape == (2, 8, 9)
