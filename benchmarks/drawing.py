"""How fast copies are drawn while training: by threads or by processes, in which time each.

    python benchmarks/drawing.py [--image-sizes 192 256] [--workers 1 2] [--preset presets/cpu.yaml]

An epoch of drawn copies of synthetic pairs, with the transforms of the preset, as training reads
it. Prints images per second of the batches that come out (originals are one among the copies of a
pair), and the processor time of an image in the workers' own and in this process together, which
says what another number of cores would give.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import psutil

from pipeline.dataset.synthetic.phantom import class_counts, radiograph
from pipeline.model import batches
from pipeline.model.batches import read_batches
from pipeline.model.shards import Shards, encode_record, write_shard
from pipeline.params import AugmentParams
from pipeline.params_file import load_params, read_yaml

PROJECT = Path(__file__).parents[1]
PAIRS = 64
COPIES = 15
BATCH = 16


def main() -> None:
    """Measure and print the table."""
    options = _options()
    cores = len(os.sched_getaffinity(0))
    print(f"{platform.machine()}, {cores} cores, Python {platform.python_version()}\n")
    print("| image | copies drawn by | images/s | slowest | fastest | processor time, ms |")
    print("| --- | --- | --- | --- | --- | --- |")
    for side in options.image_sizes:
        with tempfile.TemporaryDirectory() as folder:
            shards = make_pairs(Path(folder), side)
            for kind in ("threads", "processes"):
                for workers in options.workers:
                    by = replace(shards, fresh=drawing_params(options.preset, side, workers))
                    print_drawing(by, kind, workers, options.epochs)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--image-sizes", type=int, nargs="+", default=[192, 256])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--preset", type=Path, default=PROJECT / "presets/cpu.yaml")
    parser.add_argument("--epochs", type=int, default=3, help="of each kind, after one to warm up")
    return parser.parse_args()


def drawing_params(preset: Path, side: int, workers: int) -> AugmentParams:
    """What training draws copies with: as a preset says, but so large and by so many processes."""
    given = load_params(PROJECT / "params.yaml").augment.model_dump()
    given |= read_yaml(preset)["augment"]
    given |= {"image_size": side, "copies": COPIES, "fresh": True, "workers": workers}
    return AugmentParams.model_validate(given)


def make_pairs(folder: Path, side: int, pairs: int = PAIRS) -> Shards:
    """A shard of synthetic pairs, and how many records an epoch has with the copies."""
    name = next(iter(class_counts(pairs)))
    records = []
    for i in range(pairs):
        image, mask = (cv2.resize(one, (side, side)) for one in radiograph(1, i, name))
        records.append(encode_record(f"{name}/{i}", image, mask * 255))
    path = folder / "train-00000-of-00001.tfrecord"
    write_shard(path, records)
    return Shards([path], pairs * (COPIES + 1), side)


def print_drawing(shards: Shards, kind: str, workers: int, epochs: int) -> None:
    """Print a row of the table."""
    processes = batches.drawing_processes
    if kind == "threads":
        batches.drawing_processes = lambda _: (ThreadPoolExecutor(workers), workers)
    speeds, times = [], []
    for epoch in range(epochs + 1):
        with read_batches(shards, BATCH, order=epoch, epoch=epoch + 1).reading() as stream:
            stream[0]  # by then the processes have started
            before, started, read = _processor_time(), time.monotonic(), 0
            for number in range(1, len(stream)):
                read += len(stream[number][0])
            if epoch:
                speeds.append(read / (time.monotonic() - started))
                times.append(1000 * (_processor_time() - before) / read)
    batches.drawing_processes = processes
    found = f"{statistics.median(speeds):.0f} | {min(speeds):.0f} | {max(speeds):.0f}"
    side = shards.image_size
    print(
        f"| {side} px | {workers} {kind} | {found} | {statistics.median(times):.2f} |", flush=True
    )


def _processor_time() -> float:
    """Of this process and of those that work for it, seconds."""
    this = psutil.Process()
    used = [one.cpu_times() for one in (this, *this.children(recursive=True))]
    return sum(one.user + one.system for one in used)


if __name__ == "__main__":
    main()
