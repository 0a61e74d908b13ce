"""How fast shards are read into batches, as training reads them, and in how much memory.

    python benchmarks/input.py [--folder artifacts/augment | --records 6000 --image-size 256]

Makes shards of random pixels, or takes those of a folder, and reads every record once a pass: with
the files in the system's cache (warm) and with the cache emptied of them before each pass (cold).
With --tensorflow tf.data, which read them before, takes turns with the reader, and both must give
the same batches; what a GPU's host does beside, such as copying to the device, is part of neither.
Prints records per second (median, slowest and fastest pass; the start of each pass is part of it),
the processor time of a record in this process, which other work on the machine changes less, and
the peak memory of the process before and after the passes.

Shards whose copies training draws are passed over as in an epoch, so with all their copies.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.model.batches import PARALLEL_READS, SHUFFLE_BYTES, read_batches
from pipeline.model.shards import (
    AUGMENT_SUMMARY_FILE,
    AugmentSummary,
    Shards,
    encode_record,
    find_shards,
    record_size,
    write_shard,
)
from pipeline.settings import quiet_libraries
from pipeline.stages.augment import SHARD_SIZE

SEED = 7

Reader = Callable[[], Iterable[Any]]
"""Begins a pass."""


def main() -> None:
    """Measure and print the table."""
    options = _options()
    quiet_libraries()
    cores = len(os.sched_getaffinity(0))
    print(f"{platform.machine()}, {cores} cores, Python {platform.python_version()}\n")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not options.folder:
            make_shards(folder, options.records, options.image_size)
        shards = find_shards(folder, "train")
        readers: dict[str, Reader] = {
            "batches": lambda: read_batches(shards, options.batch_size, SEED)
        }
        if options.tensorflow:
            readers = {"tf.data": tensorflow_reader(shards, options.batch_size), **readers}
            check_same(*readers.values())
        before = _peak()
        side = shards.image_size
        print(f"{shards.records} records of {side}x{side} pixels from {len(shards.paths)} shards\n")
        print("| reader | file cache | passes | records/s | slowest | fastest | processor, µs |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for cache in ("warm", "cold"):
            print_speeds(shards, readers, cache, options.passes)
    print(f"\npeak memory: {before:.0f} MiB before the passes, {_peak():.0f} MiB at the end")


def tensorflow_reader(shards: Shards, batch_size: int) -> Reader:
    """The reader that there was before: tf.data, in the same order."""
    import keras
    import tensorflow as tf

    side = shards.image_size

    def decode(batch: Any) -> Any:
        spec = {name: tf.io.FixedLenFeature([], tf.string) for name in ("image", "mask")}
        found = tf.io.parse_example(batch, spec)
        image, mask = (
            tf.reshape(tf.io.decode_raw(found[name], tf.uint8), [-1, side, side, 1])
            for name in ("image", "mask")
        )
        return image, tf.cast(mask, tf.float32) / 255

    keras.utils.set_random_seed(SEED)
    kept: dict[str, Any] = {"seed": SEED, "reshuffle_each_iteration": False}
    files = tf.data.Dataset.from_tensor_slices([str(path) for path in shards.paths])
    records = files.shuffle(len(shards.paths), **kept).interleave(
        lambda path: tf.data.TFRecordDataset(path, buffer_size=2**20),
        cycle_length=PARALLEL_READS,
        num_parallel_calls=PARALLEL_READS,
        deterministic=True,
    )
    waiting = min(max(1, SHUFFLE_BYTES // record_size(side)), shards.records)
    batches = (
        records.shuffle(waiting, **kept)
        .batch(batch_size, drop_remainder=shards.records >= batch_size)
        .map(decode, num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
    )
    return lambda: batches.as_numpy_iterator()


def check_same(*readers: Reader) -> None:
    """Stop unless all give the same batches in the same order."""
    for several in zip(*(reader() for reader in readers), strict=True):
        (images, masks), *others = several
        for other in others:
            np.testing.assert_array_equal(images, other[0])
            np.testing.assert_array_equal(masks, other[1])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, help="an artifacts/augment instead of random pixels")
    parser.add_argument("--records", type=int, default=6000)
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--passes", type=int, default=5, help="of each kind, after one to warm up")
    parser.add_argument("--tensorflow", action="store_true", help="beside tf.data")
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


def print_speeds(shards: Shards, readers: dict[str, Reader], cache: str, passes: int) -> None:
    """Print a row of the table for each reader; they take turns."""
    speeds: dict[str, list[float]] = {name: [] for name in readers}
    times: dict[str, list[float]] = {name: [] for name in readers}
    for number in range(passes + 1):
        for name, reader in readers.items():
            if cache == "cold":
                _forget(shards)
            started, before = time.monotonic(), time.process_time()
            read = sum(len(images) for images, _ in reader())
            if number:
                speeds[name].append(read / (time.monotonic() - started))
                times[name].append(1e6 * (time.process_time() - before) / read)
    for name, found in speeds.items():
        median = f"{statistics.median(found):.0f} | {min(found):.0f} | {max(found):.0f}"
        used = f"{statistics.median(times[name]):.0f}"
        print(f"| {name} | {cache} | {passes} | {median} | {used} |", flush=True)


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
