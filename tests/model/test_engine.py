"""The choice of the engine, and what a process is told of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import CrashedError, StageError
from pipeline.model import engine
from pipeline.model.engine import (
    DETERMINISTIC,
    UNLIMITED,
    choose_engine,
    compute_policy,
    engine_devices,
    training_environment,
    translated_errors,
)
from pipeline.params import Params, TrainParams
from tests.conftest import PROJECT

LOADED = """
import json, logging, os, sys
from pathlib import Path
from pipeline.model.engine import choose_engine
from pipeline.params_file import load_params
logging.basicConfig(format="%(message)s")
train = load_params(Path("params.yaml")).train.model_copy(update=json.loads(sys.argv[1]))
choose_engine(train, Path(sys.argv[2]))
import keras
from pipeline.model.engine import training_environment
found = training_environment()
loaded = [name for name in ("tensorflow", "jax") if sys.modules.get(name)]
print(json.dumps([keras.backend.backend(), found.engine_version, loaded, dict(os.environ)]))
"""


def loaded(changes: dict[str, Any], home: Path, **variables: str) -> tuple[list[Any], str]:
    cache = {"JAX_COMPILATION_CACHE_DIR", "JAX_COMPILATION_CACHE_MAX_SIZE"}
    kept = {name: value for name, value in os.environ.items() if name not in cache}
    done = subprocess.run(
        [sys.executable, "-c", LOADED, json.dumps(changes), str(home)],
        env={**kept, **variables},
        cwd=PROJECT,
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout), done.stderr


def other_engine(params: Params) -> TrainParams:
    (other,) = set(engine.EXTRAS) - {params.train.engine}
    return params.train.model_copy(update={"engine": other})


@pytest.mark.slow
def test_the_parameter_chooses_the_engine_and_not_the_shell(tmp_path: Path) -> None:
    import jax

    (backend, version, modules, variables), said = loaded(
        {"engine": "jax"}, tmp_path, KERAS_BACKEND="tensorflow", XLA_FLAGS="--xla_dump_to="
    )

    assert (backend, version, modules) == ("jax", jax.__version__, ["jax"])
    assert variables["KERAS_BACKEND"] == "jax"
    assert "KERAS_BACKEND=tensorflow does not count: train.engine is jax" in said
    assert variables["XLA_FLAGS"] == f"--xla_dump_to= {DETERMINISTIC}"
    assert variables["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    assert variables["JAX_COMPILATION_CACHE_DIR"] == str(tmp_path / "jax")
    assert int(variables["JAX_COMPILATION_CACHE_MAX_SIZE"]) == engine.CACHE_BYTES


@pytest.mark.parametrize("given", ["", "JAX_COMPILATION_CACHE_DIR", UNLIMITED])
def test_compiled_steps_are_kept_though_a_process_was_killed_while_it_wrote_one(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    import keras

    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.setenv("XLA_FLAGS", "")
    for name in ("JAX_COMPILATION_CACHE_DIR", "JAX_COMPILATION_CACHE_MAX_SIZE"):
        monkeypatch.delenv(name, raising=False)
    if given == UNLIMITED:  # then JAX writes no times
        monkeypatch.setenv("JAX_COMPILATION_CACHE_MAX_SIZE", given)
    elif given:
        monkeypatch.setenv(given, str(tmp_path / "jax"))
    (tmp_path / "jax").mkdir()
    whole = {"jit_step-1-cache", "jit_step-1-atime"}
    for name in (*whole, "jit_step-2-cache"):
        (tmp_path / "jax" / name).touch()

    choose_engine(params.train.model_copy(update={"engine": "jax"}), tmp_path)

    # A folder that the shell gives is somebody else's, with a size of its own.
    found = {path.name for path in (tmp_path / "jax").iterdir()} - {".lockfile"}
    assert found == (whole | {"jit_step-2-cache"} if given else whole)
    limit = {"": str(engine.CACHE_BYTES), UNLIMITED: UNLIMITED}.get(given)
    assert os.environ.get("JAX_COMPILATION_CACHE_MAX_SIZE") == limit


def test_an_engine_that_is_not_installed_is_named_with_its_extra(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.setattr(engine, "find_spec", lambda name: None)
    wanted = params.train.model_copy(update={"engine": "jax"})

    with pytest.raises(StageError, match=r"no package jax; install it \(`make setup EXTRA=jax`"):
        choose_engine(wanted, tmp_path)


def test_an_engine_beside_another_one_is_refused(params: Params, tmp_path: Path) -> None:
    import keras

    choose_engine(params.train, tmp_path)
    assert os.environ["KERAS_BACKEND"] == keras.backend.backend()

    with pytest.raises(StageError, match=r"found Keras on .* in this process, expected"):
        choose_engine(other_engine(params), tmp_path)


@pytest.mark.parametrize(
    ("capabilities", "policy"),
    [([], "mixed_bfloat16"), ([(8, 0), (9, 0)], "mixed_bfloat16"), ([(7, 5)], "mixed_float16")],
)
def test_mixed_precision_is_float16_on_gpus_without_bfloat16(
    monkeypatch: pytest.MonkeyPatch, capabilities: list[tuple[int, int]], policy: str
) -> None:
    from pipeline.model.devices import Gpu

    cards = [Gpu("card", capability) for capability in capabilities]
    monkeypatch.setattr(engine_devices(), "gpus", lambda: cards)

    assert compute_policy("mixed") == policy
    assert compute_policy("float32") == "float32"


def test_what_draws_copies_is_part_of_the_environment_where_training_draws() -> None:
    from importlib.metadata import version

    drawing = training_environment(drawing=True).drawing

    assert drawing["albumentations"] == "2.0.8"
    assert drawing["numpy"] == version("numpy")
    assert drawing["opencv-python-headless"] == version("opencv-python-headless")
    assert training_environment().drawing == {}


def test_a_full_memory_and_no_other_fault_is_worth_a_retry() -> None:
    import keras

    said = r"out of memory \(.+\); .*lower train\.batch_size"
    with pytest.raises(CrashedError, match=said), translated_errors():
        keras.ops.zeros((2**22, 2**22))  # 64 TiB
    with pytest.raises(ZeroDivisionError), translated_errors():
        _ = 1 / 0


def test_steps_that_devices_cannot_share_equally_are_refused(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.model.devices import Devices

    devices = engine_devices()(params.train)
    devices.check_batch(7)
    monkeypatch.setattr(Devices, "step", 3)

    devices.check_batch(6)
    with pytest.raises(StageError, match=r"steps of 7 radiographs, expected a multiple of the 3"):
        Devices.check_batch(devices, 7)
