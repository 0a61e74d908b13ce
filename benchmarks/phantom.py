"""How fast synthetic pairs are written, and in how much memory.

    python benchmarks/phantom.py --pairs 240 --runs 5 --memory-pairs 500 2000

Prints pairs per second and core with one worker and with all of them (median of several runs,
after one that warms up; PNG encoding, writing and fsync included, and the start of the workers);
pairs per CPU second, imports included, which other work on the machine blurs less; and the peak
memory of the writing process and of its largest worker. 21,165 pairs, as many as the real
database has, take 21,165 / (pairs per second and core) / cores seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Measure and print the tables."""
    options = _options()
    if options.measure:
        print(json.dumps(_measure(*options.measure)))
        return
    cores = len(os.sched_getaffinity(0))
    print(f"machine: {_cpu()}, {cores} cores, Python {platform.python_version()}\n")
    print("| workers | pairs | runs | pairs/s | per core | fastest | slowest | per CPU second |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for workers in sorted({1, cores}):
        _print_speed(options.pairs, workers, options.runs)
    print("\n| pairs | workers | peak memory, MiB | of its largest worker, MiB |")
    print("| --- | --- | --- | --- |")
    for pairs in options.memory_pairs:
        for workers in sorted({1, cores}):
            _print_memory(pairs, workers)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=480, help="pairs of each timed run")
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each row")
    parser.add_argument("--memory-pairs", type=int, nargs="+", default=[500, 2000])
    parser.add_argument("--measure", type=int, nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def _print_speed(pairs: int, workers: int, runs: int) -> None:
    found = [_fresh(pairs, workers) for _ in range(runs + 1)][1:]
    speeds = [pairs / run["seconds"] for run in found]
    median = statistics.median(speeds)
    worked = statistics.median(pairs / run["cpu"] for run in found)
    figures = (median, median / workers, max(speeds), min(speeds), worked)
    cells = " | ".join(f"{figure:.1f}" for figure in figures)
    print(f"| {workers} | {pairs} | {runs} | {cells} |")


def _print_memory(pairs: int, workers: int) -> None:
    found = _fresh(pairs, workers)
    worker = f"{found['worker']:.0f}" if workers > 1 else "–"
    print(f"| {pairs} | {workers} | {found['self']:.0f} | {worker} |")


def _fresh(pairs: int, workers: int) -> dict[str, float]:
    """Measure in a process of its own: peak memory never falls."""
    command = [sys.executable, __file__, "--measure", str(pairs), str(workers)]
    root = Path(__file__).parent.parent
    child = subprocess.run(command, check=True, capture_output=True, text=True, cwd=root)
    found: dict[str, float] = json.loads(child.stdout)
    return found


def _measure(pairs: int, workers: int) -> dict[str, float]:
    from pipeline.dataset.synthetic.phantom import write_dataset

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        write_dataset(Path(folder, "data"), pairs, seed=7, workers=workers)
        seconds = time.perf_counter() - start
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    memory = {"self": own.ru_maxrss / 1024, "worker": children.ru_maxrss / 1024}
    return {"seconds": seconds, "cpu": cpu, **memory}


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()


if __name__ == "__main__":
    main()
