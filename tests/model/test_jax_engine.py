"""Training on JAX: the same tests once more, and what is its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.files import write_json
from pipeline.params import Params
from tests.conftest import PROJECT
from tests.stages.test_train import files, with_train, write_shards

ON_BOTH = (
    "tests/model/test_training.py",
    "tests/model/test_losses.py",
    "tests/stages/test_train.py",
)
"""What holds on every engine; KERAS_BACKEND says which one these tests take."""

ONCE = "two_devices"
"""What takes minutes and starts processes with both engines itself."""

STAGE = """
import json, sys
from pipeline.cli.app import main
sys.argv = ["lungseg", "stage", "train"]
try:
    main()
finally:
    roots = {name.partition(".")[0] for name, module in sys.modules.items() if module}
    print(json.dumps(sorted(roots & {"jax", "keras", "tensorflow", "tf2onnx"})))
"""


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("tests", ON_BOTH)
def test_what_holds_on_tensorflow_holds_on_jax(tests: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", tests, "-k", f"not ({ONCE})", f"--basetemp={tmp_path}/t"],
        env={
            **os.environ,
            **{"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
            # Compiling takes longer than all else.
            "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "jax"),
            "JAX_COMPILATION_CACHE_MAX_SIZE": str(2**30),
            "XLA_FLAGS": "--xla_backend_optimization_level=0",
        },
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout


@pytest.mark.slow
def test_a_training_on_jax_imports_nothing_of_tensorflow(params: Params, tmp_path: Path) -> None:
    write_shards(tmp_path, train=8, val=4)
    wanted = with_train(params, engine="jax", epochs=1)
    write_json(tmp_path / "params.yaml", wanted.model_dump(by_alias=True))

    done = subprocess.run(
        [sys.executable, "-c", STAGE],
        env={
            **os.environ,
            "PYTHONPATH": str(PROJECT),
            "LUNGSEG_HOME": str(tmp_path / ".lungseg"),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert set(files(tmp_path)) == {"model.keras", "model.onnx", "history.csv", "train.json"}
    assert json.loads(done.stdout.splitlines()[-1]) == ["jax", "keras"]
