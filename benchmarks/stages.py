"""Time and peak memory of the data stages against the number of pairs, and the DAG's parse time.

    python benchmarks/stages.py [--pairs 500 1000 2000]

The peak is that of the largest single process of the stage, as the operating system counted it.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).parents[1]
STAGES = ("validate", "split", "augment")
PARSES = 5


def run_stage(name: str, folder: Path) -> tuple[float, float]:
    """Seconds and peak MB of one stage in a project folder."""
    command = [sys.executable, "-m", "pipeline", "stage", name]
    started = time.monotonic()
    child = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"stage {name} failed in {folder}")
    return time.monotonic() - started, usage.ru_maxrss / 1024


def measure(pairs: int) -> None:
    """Print a row per stage for a synthetic dataset of so many pairs."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        shutil.copytree(PROJECT / "pipeline", folder / "pipeline")
        shutil.copyfile(PROJECT / "params.yaml", folder / "params.yaml")
        command = ["lungseg", "data", "phantom", str(folder / "data"), "--pairs", str(pairs)]
        subprocess.run(command, check=True, capture_output=True)
        for name in STAGES:
            seconds, peak = run_stage(name, folder)
            print(f"{pairs:>7} {name:<10} {seconds:>8.1f} {peak:>8.0f}", flush=True)


def parse_seconds(path: Path) -> float:
    """Seconds that Python needs for a DAG file once Airflow and YAML are imported."""
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[2]); import yaml, airflow.sdk\n"
        "from airflow.sdk.definitions.asset import Model; import airflow.sdk.exceptions\n"
        "from airflow.sdk import DAG, Param, BaseOperator\n"
        "started = time.perf_counter(); import runpy; runpy.run_path(sys.argv[1])\n"
        "print(time.perf_counter() - started)"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, str(path), str(path.parent)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, nargs="+", default=[500, 1000, 2000])
    counts = parser.parse_args().pairs
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{'pairs':>7} {'stage':<10} {'seconds':>8} {'peak MB':>8}")
    for pairs in counts:
        measure(pairs)
    dag = PROJECT / "dags/retrain.py"
    parses = [parse_seconds(dag) for _ in range(PARSES)]
    print(f"parse of dags/retrain.py: {statistics.median(parses):.3f} s, median of {PARSES}")


if __name__ == "__main__":
    main()
