"""How long a command takes before it does anything: help, a mask, and the imports behind them.

    python -m benchmarks.start                      # this checkout
    python -m benchmarks.start path/to/another      # and another with a .venv, alternating

A mask is `lungseg predict` of one radiograph from an MLflow server on loopback, process start to
end. The released model is the small one that tests/release keeps, so what is timed is the way to
it. Medians, with the CPU seconds beside them: those tell more where a machine is shared.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from tests.release.runs import OLD_LAYOUT
from tests.test_layers import HEAVY

ROOT = Path(__file__).parents[1]
RUNS = 7
MODEL = "lung-segmentation"
REGISTER = """
import sys
import mlflow
from pipeline.inference.model_files import model_sha256
from pathlib import Path
client, folder = mlflow.MlflowClient(), Path(sys.argv[1])
model = client.create_logged_model("0", "model")
client.log_model_artifacts(model.model_id, str(folder))
client.finalize_logged_model(model.model_id, "READY")
tags = {"model_sha256": model_sha256(folder / "artifacts"), "threshold": "0.5"}
version = mlflow.register_model(f"models:/{model.model_id}", sys.argv[2], tags=tags)
client.set_registered_model_alias(sys.argv[2], "champion", version.version)
"""


@contextmanager
def served(home: Path, model: Path = OLD_LAYOUT) -> Iterator[str]:
    """The address of an MLflow server whose champion is the model laid out in a folder."""
    program = Path(sys.executable).with_name("mlflow")
    store, artifacts = f"sqlite:///{home}/mlflow.db", str(home / "artifacts")
    command = [program, "server", "--port", "5757", "--workers", "1"]
    command += ["--backend-store-uri", store, "--artifacts-destination", artifacts]
    address = "http://127.0.0.1:5757"
    with subprocess.Popen(command, cwd=home, stdout=subprocess.DEVNULL, stderr=-3) as server:
        try:
            for _ in range(300):
                try:
                    httpx.get(f"{address}/health").raise_for_status()
                    break
                except httpx.TransportError:
                    time.sleep(0.2)
            register = [sys.executable, "-c", REGISTER, str(model), MODEL]
            environment = {**os.environ, "MLFLOW_TRACKING_URI": address}
            subprocess.run(register, cwd=ROOT, env=environment, check=True, capture_output=True)
            yield address
        finally:
            server.terminate()


def measure(command: Sequence[str], folder: Path, address: str) -> tuple[float, float]:
    """Wall and CPU seconds of a command."""
    environment = {**os.environ, "MLFLOW_TRACKING_URI": address}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu


def commands(checkout: Path, folder: Path) -> dict[str, list[str]]:
    """What is timed in a checkout."""
    python = str(checkout / ".venv/bin/python")
    lungseg = [python, "-m", "pipeline"]
    return {
        "lungseg --help": [*lungseg, "--help"],
        "lungseg predict, one radiograph": [
            *lungseg,
            "predict",
            str(folder / "radiograph.png"),
            "--out",
            str(folder / "out"),
        ],
    }


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("others", nargs="*", type=Path)
    checkouts = [ROOT, *(path.absolute() for path in parser.parse_args().others)]
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"load {os.getloadavg()[0]:.1f}; median of {RUNS}: wall s (CPU s)"
    )
    with tempfile.TemporaryDirectory() as temporary, served(Path(temporary)) as address:
        folder = Path(temporary)
        pixels = np.random.default_rng(0).integers(0, 256, (1024, 1024), np.uint8)
        Image.fromarray(pixels).save(folder / "radiograph.png")
        for name in commands(ROOT, folder):
            times: dict[Path, list[tuple[float, float]]] = {path: [] for path in checkouts}
            for _ in range(RUNS):
                for checkout in checkouts:
                    command = commands(checkout, folder)[name]
                    times[checkout].append(measure(command, checkout, address))
            row = [
                f"{statistics.median(wall for wall, _ in found):.2f} "
                f"({statistics.median(cpu for _, cpu in found):.2f})"
                for found in times.values()
            ]
            print(f"| {name} | {' | '.join(row)} |")
    for package in sorted(HEAVY):
        command = [sys.executable, "-c", f"import {package}"]
        found = [measure(command, ROOT, "") for _ in range(3)]
        print(f"| import {package} | {statistics.median(cpu for _, cpu in found):.2f} CPU s |")


if __name__ == "__main__":
    main()
