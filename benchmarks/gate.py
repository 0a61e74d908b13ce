"""How long the gate and the promotion take for a large test split.

    python -m benchmarks.gate                 # 3,175 test radiographs, as in the COVID-19 database

The run is made up but whole: radiographs of 64 pixels, the network of 32 pixels that tests/release
keeps, a report with a picture for every tenth case, in an MLflow server on loopback. Predicting a
tenth again depends on the network and the size of the radiographs, so it is timed apart. Medians of
several runs; the champion is the one before, so that all comparisons are made.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.start import served
from pipeline.release import gate, promotion
from pipeline.settings import Settings
from pipeline.tracking.client import connect
from tests.release.conftest import deploy
from tests.release.runs import make_run

CLASSES = {"COVID": 542, "Lung_Opacity": 902, "Normal": 1529, "Viral Pneumonia": 202}
"""Test radiographs of each class, 15 % of the database."""
RUNS = 3


@contextmanager
def timed(seconds: list[float], owner: Any, name: str) -> Iterator[None]:
    """Add up what the function `name` of a module takes while the block runs."""
    function: Callable[..., Any] = getattr(owner, name)
    spent = [0.0]

    def measured(*arguments: Any) -> Any:
        started = time.monotonic()
        try:
            return function(*arguments)
        finally:
            spent[0] += time.monotonic() - started

    setattr(owner, name, measured)
    try:
        yield
    finally:
        setattr(owner, name, function)
        seconds.append(spent[0])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--share", type=float, default=1.0, help="of the radiographs")
    share = parser.parse_args().share
    cases = {name: max(1, round(share * count)) for name, count in CLASSES.items()}
    gates: list[float] = []
    again: list[float] = []
    promotions: list[float] = []
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        deploy(home / "deployed")
        with served(home) as address:
            os.environ["MLFLOW_TRACKING_URI"] = address
            settings = Settings(repo=str(home / "deployed"), home=home / "home", model_name="lungs")
            with connect(settings) as client:
                for number in range(RUNS + 1):
                    dice = {name: [0.96 + 0.005 * number] * count for name, count in cases.items()}
                    run = make_run(settings, client, home / f"run-{number}", dice, b"%d" % number)
                    started = time.monotonic()
                    with timed(again, gate, "predict_again"):
                        gate.run_gate(*run)
                    gates.append(time.monotonic() - started - again[-1])
                    started = time.monotonic()
                    outcome = promotion.run_promotion(*run)
                    promotions.append(time.monotonic() - started)
                    if outcome.status != "released":
                        raise SystemExit(f"not released: {outcome.reason}")
    radiographs = sum(cases.values())
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {radiographs} test radiographs, {RUNS} runs"
    )
    print("| what | seconds, median | slowest |\n|---|---|---|")
    for name, seconds in (
        ("gate, beside predicting a tenth again", gates[1:]),
        ("predicting a tenth again (64 pixels)", again[1:]),
        ("promotion", promotions[1:]),
    ):
        print(f"| {name} | {statistics.median(seconds):.1f} | {max(seconds):.1f} |")


if __name__ == "__main__":
    main()
