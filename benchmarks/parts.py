"""The data stages in parts, by two worker processes as hosts have them: seconds at 1, 2, 4 parts.

    python benchmarks/parts.py [--pairs 4000 12000] [--copies 2]

Two workers with a core, a home, a cache and a workspace each share git, a store and MLflow. The
parts of a stage are a queue that both take from, as they would take Airflow's tasks; the first
then does the stage itself. Nothing comes from a cache. The seconds are of `lungseg task`, without
what Airflow adds to each task. The last tables follow from two sizes: what is paid once, what is
paid for each pair, and what the full database and a million radiographs would cost.
"""

from __future__ import annotations

import argparse
import os
import platform
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pipeline.parts import StagePart, all_parts
from pipeline.settings import child_environment
from tests.projects import make_project

STAGES = ("validate", "augment")
PARTS = (1, 2, 4)
LARGE = (21_165, 1_000_000)
WORKERS = (1, 2, 4, 8, 16)


class Seconds(NamedTuple):
    """Of a stage: until its parts are done, the longest part, and putting them together."""

    parts: float
    part: float
    whole: float

    @property
    def all(self) -> float:
        """From its start to its end."""
        return self.parts + self.whole


class Worker:
    """A host: one core, a home, and what it has in common with the others."""

    def __init__(self, folder: Path, number: int) -> None:
        cores = sorted(os.sched_getaffinity(0))
        self.core = cores[number % len(cores)]
        self.environment = child_environment(
            LUNGSEG_HOME=str(folder / f"home-{number}"),
            LUNGSEG_REPO=str(folder / "project"),
            LUNGSEG_REMOTE=str(folder / "store"),
            MLFLOW_TRACKING_URI=f"sqlite:///{folder}/mlflow.db",
            DVC_SITE_CACHE_DIR=str(folder / f"site-{number}"),
        )

    def task(self, run: str, name: str, *options: str) -> float:
        """Seconds of a task of the run, which must succeed."""
        began = time.monotonic()
        command = ["taskset", "-c", str(self.core), sys.executable, "-m", "pipeline", "task", name]
        done = subprocess.run(
            [*command, "--run-id", run, *options],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return time.monotonic() - began


def stage(workers: list[Worker], run: str, name: str, count: int, changes: str) -> Seconds:
    """Do a stage of a run in so many parts."""
    options = ["--overrides", changes, "--force"]
    waiting: queue.SimpleQueue[StagePart] = queue.SimpleQueue()
    for part in all_parts(count) if count > 1 else ():
        waiting.put(part)
    took: list[float] = []

    def work(worker: Worker) -> None:
        while True:
            try:
                part = waiting.get_nowait()
            except queue.Empty:
                return
            took.append(worker.task(run, name, *options, "--part", str(part)))

    began = time.monotonic()
    threads = [threading.Thread(target=work, args=[worker]) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    parts = time.monotonic() - began
    return Seconds(
        parts if took else 0.0, max(took, default=0.0), workers[0].task(run, name, *options)
    )


def measure(folder: Path, pairs: int, copies: int) -> dict[tuple[str, int], Seconds]:
    """The seconds of each stage at each number of parts."""
    changes = [f"augment.copies={copies}", "augment.image_size=256"]
    make_project(folder / "project", changes, pairs)
    workers = [Worker(folder, number) for number in (0, 1)]
    environment = workers[0].environment
    remote = ["remote", "add", "--local", "--default", "store", str(folder / "store")]
    for arguments in (remote, ["push", "--quiet", "data"]):
        subprocess.run(["dvc", *arguments], cwd=folder / "project", env=environment, check=True)
    found = {}
    for worker in workers:  # an empty host gets the data once
        worker.task("warm", "plan")
        fetched = worker.task("warm", "validate", "--force")
        print(f"{pairs} pairs: a host without data validates them in {fetched:.1f} s", flush=True)
    for count in PARTS:
        run, changes = f"parts-{count}", f'["stages.parts={count}"]'
        for worker in workers:
            worker.task(run, "plan", "--overrides", changes)
        for name in ("validate", "split", "augment"):
            if name in STAGES:
                found[name, count] = stage(workers, run, name, count, changes)
            else:
                for worker in workers:
                    worker.task(run, name, "--overrides", changes)
    return found


def show(pairs: int, found: dict[tuple[str, int], Seconds]) -> None:
    """Print the table of one dataset."""
    for (name, count), seconds in found.items():
        gain = found[name, 1].all / seconds.all
        print(
            f"| {pairs} | {name} | {count} | {seconds.parts:.1f} | {seconds.whole:.1f} "
            f"| {seconds.all:.1f} | {gain:.2f} |",
            flush=True,
        )


def line(sizes: Iterable[int], seconds: Iterable[float]) -> tuple[float, float]:
    """Seconds that are paid once, and for each pair, by two sizes."""
    (small, large), (less, more) = sizes, seconds
    each = max(0.0, (more - less) / (large - small))
    return max(0.0, less - each * small), each


def calculate(of_size: dict[int, dict[tuple[str, int], Seconds]]) -> None:
    """Print what large datasets cost on workers of one core."""
    for name in STAGES:
        whole = line(of_size, (found[name, 1].whole for found in of_size.values()))
        part = line((size // 2 for size in of_size), (f[name, 2].part for f in of_size.values()))
        joined = line(of_size, (found[name, 2].whole for found in of_size.values()))
        kinds = {"in one piece": whole, "a part": part, "put together": joined}
        for kind, (once, each) in kinds.items():
            print(f"{name}, {kind}: {once:.1f} s, and {each * 1e3:.2f} ms for each of its pairs")
        for pairs in LARGE:
            cells = [whole[0] + whole[1] * pairs]
            cells += [
                part[0] + part[1] * pairs / workers + joined[0] + joined[1] * pairs
                for workers in WORKERS[1:]
            ]
            texts = " | ".join(f"{seconds / 60:.1f} min" for seconds in cells)
            print(f"| {name} | {pairs:,} | {texts} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, nargs=2, default=[4000, 12000])
    parser.add_argument("--copies", type=int, default=2)
    given = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")
    print("| pairs | stage | parts | parts, s | together, s | whole, s | gain |")
    print("|---|---|---|---|---|---|---|")
    of_size = {}
    for pairs in sorted(given.pairs):
        with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="lungseg-") as folder:
            of_size[pairs] = measure(Path(folder), pairs, given.copies)
            show(pairs, of_size[pairs])
    calculate(of_size)


if __name__ == "__main__":
    main()
