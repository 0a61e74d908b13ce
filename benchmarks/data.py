"""The data stages on synthetic datasets of growing size: seconds and peak memory of each.

    python benchmarks/data.py [--pairs 5000 10000 21165] [--repeats 1] [--no-dvc] [--fresh]
                              [--train]

Settings are those of params.yaml with 256 x 256 pixels and two copies, with --fresh such as
training draws itself: then reading the shards draws them. `memory` is the largest proportional set
size of a stage's whole process tree, so that pages which processes share count
once; `largest` is its largest process. The last rows read the shards as training does, with --train
train a tiny network for an epoch, and bring an unchanged dataset up to date with `dvc repro`. The
largest set takes 15 GB of disk below the temporary folder.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

PROJECT = Path(__file__).parents[1]
STAGES = ("validate", "split", "augment")
LOOKS = 0.2  # seconds between two looks at the memory

JUDGE = """
from pathlib import Path
import tempfile
import pandas as pd
from pipeline.dataset.manifest import MANIFEST, QUARANTINE
from pipeline.dataset.validation.drift import (shift_table)
from pipeline.dataset.validation.populations import (Profile)
from pipeline.dataset.validation.expectations import check_expectations
from pipeline.dataset.validation.whole import DatasetTables
from pipeline.params_file import load_params
made = Path("artifacts/validate")
manifest = MANIFEST.read(made / "manifest.parquet")
quarantine = QUARANTINE.read(made / "quarantine.csv")
tables = DatasetTables(manifest, quarantine, shift_table(manifest, Profile()))
params = load_params(Path("params.yaml")).validate_
with tempfile.TemporaryDirectory() as folder:
    check_expectations(tables, params, Path(folder, "docs"))
"""


@dataclass
class Use:
    """What a command took."""

    seconds: float = 0.0
    memory: float = 0.0
    """Largest sum over its processes, MB."""
    largest: float = 0.0
    """Its largest process, MB."""
    output: str = ""


def run(command: list[str], folder: Path) -> Use:
    """Run a command that must succeed and watch its process tree."""
    use = Use()
    started = time.monotonic()
    with (
        tempfile.TemporaryFile("w+") as output,
        subprocess.Popen(
            command, cwd=folder, stdout=output, stderr=subprocess.STDOUT, env=environment()
        ) as child,
    ):
        with watched(child, use):
            code = child.wait()
        use.seconds = time.monotonic() - started
        output.seek(0)
        use.output = output.read()
    if code:
        raise SystemExit(f"{' '.join(command[:4])}: failed in {folder}:\n{use.output}")
    return use


def environment() -> dict[str, str]:
    """The environment of a child: this environment's programs first, libraries quiet."""
    from pipeline.settings import child_environment

    return child_environment(PYTHONPATH=str(PROJECT))


@contextmanager
def watched(child: subprocess.Popen[bytes], use: Use) -> Iterator[None]:
    """Look at the memory of a process and its descendants until the block ends."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(LOOKS):
            sizes = list(tree_sizes(child.pid))
            use.memory = max(use.memory, sum(sizes))
            use.largest = max(use.largest, *sizes, 0.0)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def tree_sizes(pid: int) -> Iterator[float]:
    """Proportional set size of a process and of each descendant, MB."""
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in processes:
        try:
            yield process.memory_full_info().pss / 1e6
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


CHANGES = ("augment.image_size=256", "augment.copies=2", "train.epochs=1", "train.filters=[4, 8]")


def make_project(folder: Path, pairs: int, fresh: bool) -> None:
    """A project with a synthetic dataset of so many pairs."""
    shutil.copytree(PROJECT / "pipeline", folder / "pipeline")
    for name in ("dvc.yaml", "params.yaml", "data.previous.json"):
        shutil.copyfile(PROJECT / name, folder / name)
    change = (
        "from pathlib import Path; from pipeline.params_file import override; "
        f"override(Path('params.yaml'), {[*CHANGES, f'augment.fresh={str(fresh).lower()}']})"
    )
    run([sys.executable, "-c", change], folder)
    show(
        pairs, "phantom", run([*LUNGSEG, "data", "phantom", "data", "--pairs", str(pairs)], folder)
    )


LUNGSEG = [sys.executable, "-m", "pipeline"]


def show(pairs: int, what: str, use: Use) -> None:
    """Print a row of the table."""
    print(
        f"| {pairs} | {what} | {use.seconds:.1f} | {use.memory:.0f} | {use.largest:.0f} |",
        flush=True,
    )


def measure(pairs: int, options: argparse.Namespace) -> None:
    """Print the rows of one dataset."""
    repeats = options.repeats
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_project(folder, pairs, options.fresh)
        for name in STAGES:
            uses = [run([*LUNGSEG, "stage", name], folder) for _ in range(repeats)]
            show(pairs, name, median(uses))
            if name == "validate":
                judged = [run([sys.executable, "-c", JUDGE], folder) for _ in range(repeats)]
                show(pairs, "of it Great Expectations", median(judged))
        shards = sum(path.stat().st_size for path in (folder / "artifacts/augment").iterdir())
        print(f"| {pairs} | what augment wrote: {shards / 1e6:.0f} MB | | | |", flush=True)
        read = [
            sys.executable,
            str(PROJECT / "benchmarks/input.py"),
            "--folder",
            "artifacts/augment",
            "--passes",
            str(repeats),
        ]
        use = run(read, folder)
        for cache, _, speed, *_ in re.findall(
            r"\| batches \| (warm|cold) \| (\d+) \| (\d+)", use.output
        ):
            show(pairs, f"input, {cache} file cache: {speed} records/s", use)
        if options.train:
            trained = run([*LUNGSEG, "stage", "train"], folder)
            speed = re.findall(r"epoch 1/1: .* ([0-9.]+) images/s", trained.output)[-1]
            show(pairs, f"train, an epoch: {speed} images/s", trained)
        if options.dvc:
            measure_dvc(pairs, folder)


def median(uses: list[Use]) -> Use:
    """The use of the median duration."""
    return sorted(uses, key=lambda use: use.seconds)[len(uses) // 2]


def measure_dvc(pairs: int, folder: Path) -> None:
    """Record the dataset and its results with DVC, then bring the unchanged project up to date."""
    for command in (
        ["git", "init", "--quiet"],
        ["dvc", "init", "--quiet"],
        ["dvc", "config", "cache.type", "reflink,hardlink,copy"],
    ):
        run(command, folder)
    show(pairs, "dvc add data", run(["dvc", "add", "--quiet", "data"], folder))
    run(["dvc", "commit", "--force", "--quiet", *STAGES], folder)
    show(pairs, "dvc repro, unchanged", run(["dvc", "repro", STAGES[-1]], folder))


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, nargs="+", default=[5000, 10000, 21165])
    parser.add_argument("--repeats", type=int, default=1, help="runs of each stage; the median")
    parser.add_argument("--no-dvc", dest="dvc", action="store_false", help="leave out DVC's rows")
    parser.add_argument("--fresh", action="store_true", help="training draws the copies")
    parser.add_argument("--train", action="store_true", help="train an epoch, too")
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print("\n| pairs | step | seconds | memory, MB | largest, MB |\n|---|---|---|---|---|")
    for pairs in options.pairs:
        measure(pairs, options)


if __name__ == "__main__":
    main()
