from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli.engine_lines import ENGINE_LINE, without_engine_lines

NOISE = [
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
    "I0000 00:00:1795911964.222552   16830 port.cc:153] oneDNN custom operations are on. You may",
    "I0000 00:00:1795911964.227965   16830 cudart_stub.cc:31] Could not find cuda drivers on your",
    "E0000 00:00:1732546894.123456     123 cuda_dnn.cc:8310] Unable to register cuDNN factory",
    "W0000 00:00:1732546894.1       9 gpu_device.cc:2344] Cannot dlopen some GPU libraries.",
    "2026-11-29 00:26:04.222552: I tensorflow/core/platform/cpu_feature_guard.cc:210] This",
    "2026-11-29 00:26:04.222552: E external/local_xla/xla/stream_executor/cuda/cuda_fft.cc:477] U",
    "To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow with",
]
WORDS = [
    "epoch 3/7, 42 % trained: loss 0.0712, 10.4 images/s, 38 min left",
    "error: train: loss is nan in epoch 1",
    "WARNING: this is of somebody else",
    "F0000 00:00:1732546894.123456     123 tensor.cc:1] Check failed: dtype() == expected_dtype",
    "2026-11-29 00:26:04: In the year 2026",
    "I0000 is a name",
    "",
]


def test_lines_of_the_engines_are_told_from_those_for_people() -> None:
    assert all(ENGINE_LINE.match(line.encode()) for line in NOISE)
    assert not any(ENGINE_LINE.match(line.encode()) for line in WORDS)


def test_within_only_what_is_for_people_gets_out(capfd: pytest.CaptureFixture[str]) -> None:
    with without_engine_lines():
        for line in [*NOISE, *WORDS]:
            os.write(2, f"{line}\n".encode())
        subprocess.run([sys.executable, "-c", "import os; os.write(2, b'of a child\\n')"])
        os.write(2, "no end ü".encode())
    os.write(2, b"\nafterwards\n")

    assert capfd.readouterr().err.splitlines() == [*WORDS, "of a child", "no end ü", "afterwards"]


def test_who_asks_for_them_gets_them(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    with without_engine_lines():
        os.write(2, f"{NOISE[0]}\n".encode())

    assert capfd.readouterr().err == f"{NOISE[0]}\n"


DIES = """
import os, sys
from pipeline.cli.engine_lines import without_engine_lines
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
with without_engine_lines():
    os.write(2, b"last words\\n")
    os.abort()
"""


def test_the_last_words_of_a_process_that_crashes_arrive(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", DIES], capture_output=True, text=True)

    assert done.returncode < 0
    assert done.stderr == "last words\n"


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["tensorflow", "jax"])
def test_an_engine_says_nothing_at_its_start(
    capfd: pytest.CaptureFixture[str], engine: str
) -> None:
    start = "import tensorflow, keras; print(keras.ops.ones(2) + 1)"
    with without_engine_lines():
        environment = {**os.environ, "KERAS_BACKEND": engine}
        subprocess.run([sys.executable, "-c", start], env=environment, check=True)

    assert capfd.readouterr().err == ""
