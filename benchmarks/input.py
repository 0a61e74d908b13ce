"""How fast shards are read into batches, as training reads them, and in how much memory.

    python benchmarks/input.py [--folder artifacts/augment | --records 6000 --image-size 256]

Makes shards of random pixels, or takes those of a folder, and reads every record once a pass: with
the files in the system's cache (warm) and with the cache emptied of them before each pass (cold).
Prints records per second (median, slowest and fastest pass; the filling of the shuffle buffer and
the start of the pipeline are part of each) and the peak memory of the process, which holds
TensorFlow, after its import and after the last pass.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from pipeline.model.shards import (
    AUGMENT_SUMMARY_FILE,
    AugmentSummary,
    Shards,
    encode_record,
    find_shards,
    read_shards,
    record_size,
    write_shard,
)
from pipeline.settings import quiet_libraries
from pipeline.stages.augment import SHARD_SIZE


def main() -> None:
    """Measure and print the table."""
    options = _options()
    quiet_libraries()
    import tensorflow as tf

    tf.constant(0)  # what TensorFlow takes for itself
    before = _peak()
    cores = len(os.sched_getaffinity(0))
    print(f"{platform.machine()}, {cores} cores, Python {platform.python_version()}\n")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not options.folder:
            make_shards(folder, options.records, options.image_size)
        shards = find_shards(folder, "train")
        side = shards.image_size
        print(f"{shards.records} records of {side}x{side} pixels in {len(shards.paths)} shards\n")
        print("| file cache | passes | records/s | slowest | fastest |")
        print("| --- | --- | --- | --- | --- |")
        for cache in ("warm", "cold"):
            print_speed(shards, cache, options.passes, options.batch_size)
    print(f"\npeak memory: {before:.0f} MiB after the import, {_peak():.0f} MiB at the end")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, help="an artifacts/augment instead of random pixels")
    parser.add_argument("--records", type=int, default=6000)
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--passes", type=int, default=5, help="of each kind, after one to warm up")
    return parser.parse_args()


def make_shards(folder: Path, records: int, side: int) -> None:
    """Shards of random pixels, of the size that the stage augment makes."""
    random = np.random.default_rng(1)
    count = -(-records * record_size(side) // SHARD_SIZE)
    mask = np.zeros((side, side), np.uint8)
    for i in range(count):
        numbers = range(records * i // count, records * (i + 1) // count)
        images = (random.integers(0, 256, (side, side), np.uint8) for _ in numbers)
        path = folder / f"train-{i:05d}-of-{count:05d}.tfrecord"
        write_shard(path, (encode_record(f"A/{i}", image, mask) for image in images))
    AugmentSummary(
        image_size=side,
        pairs={"train": records},
        records={"train": records},
        conventions=["standard"],
        fresh=None,
        redrawn={},
        transforms={},
        albumentations="",
    ).write(folder / AUGMENT_SUMMARY_FILE.name)


def print_speed(shards: Shards, cache: str, passes: int, batch_size: int) -> None:
    """Print a row of the table."""
    batches = read_shards(shards, batch_size, seed=7)
    speeds = []
    for epoch in range(passes + 1):
        if cache == "cold":
            _forget(shards)
        started = time.monotonic()
        read = sum(len(images) for images, _ in batches)
        if epoch:
            speeds.append(read / (time.monotonic() - started))
    median, slowest, fastest = statistics.median(speeds), min(speeds), max(speeds)
    print(f"| {cache} | {passes} | {median:.0f} | {slowest:.0f} | {fastest:.0f} |", flush=True)


def _forget(shards: Shards) -> None:
    """Ask the system to drop the files from its cache; what is not yet on disk would stay."""
    for path in shards.paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
