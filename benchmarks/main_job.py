"""Wall time of the main job in a fresh clone: the first `make retrain`, then with nothing changed.

Also the time that Airflow needs for a DAG file.

    python benchmarks/main_job.py [--repeats 3]

Installation is not counted: the clone is set up first. The services start within the first run and
are up in the others.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).parents[1]


def timed(command: list[str], folder: Path) -> float:
    """Seconds of wall time of a command that must succeed."""
    started = time.monotonic()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


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
    parser.add_argument("--repeats", type=int, default=3, help="runs with nothing changed")
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as temporary:
        clone = Path(temporary, "clone")
        subprocess.run(["git", "clone", "--quiet", str(PROJECT), str(clone)], check=True)
        subprocess.run(["make", "setup"], cwd=clone, check=True, stdout=subprocess.DEVNULL)
        try:
            first = timed(["make", "retrain"], clone)
            unchanged = [timed(["make", "retrain"], clone) for _ in range(repeats)]
        finally:
            subprocess.run(["make", "services-down"], cwd=clone, check=False)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"make retrain, first: {first:.0f} s")
    parses = [parse_seconds(PROJECT / "dags/retrain.py") for _ in range(5)]
    print(f"parse of dags/retrain.py: {statistics.median(parses):.3f} s (median of 5)")
    spread = ", ".join(f"{seconds:.0f}" for seconds in unchanged)
    print(f"make retrain, nothing changed: {statistics.median(unchanged):.0f} s (of {spread})")


if __name__ == "__main__":
    main()
