"""What the perceptual hash tells apart: the table of docs/near_duplicates.md.

    LUNGSEG_REAL_DATA=<folder> python benchmarks/near_duplicates.py [--phantoms 5000]
        [--same COVID/COVID-70 COVID/COVID-117]

The folder holds datasets in the layout of the COVID-19 Radiography Database. Radiographs of one
patient (column PATIENT of the sheets; without one each is a patient's only one) are left out of the
pairs that must be told apart; so are those given with --same, whose patients somebody who looked at
them found to be one. Every change of picture_changes.py is made to every radiograph; changed ones
must be recognised.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from picture_changes import KINDS, Change

from pipeline.dataset.layout import list_dataset
from pipeline.dataset.metadata.sheet import read_sheet
from pipeline.dataset.splits.similarity import near_duplicates, perceptual_hash
from pipeline.dataset.synthetic.phantom import class_counts, radiograph
from pipeline.radiograph.grey import Grey
from pipeline.radiograph.reading import read_radiograph

Bits = NDArray[np.bool_]
KAGGLE = 21_165  # radiographs of the COVID-19 Radiography Database
THRESHOLDS = (48, 64, 72, 80, 96)


def discrete_cosine(side: int) -> Callable[[Grey], Bits]:
    """DCT hash of side x side bits, the usual pHash (Zauner 2010), for comparison."""

    def bits(image: Grey) -> Bits:
        cells = cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
        lowest = cv2.dct(cells)[:side, :side].ravel()
        return np.asarray(lowest > np.median(lowest), np.bool_)

    return bits


def gradient(side: int) -> Callable[[Grey], Bits]:
    """Gradient hash of side x side bits, the usual dHash, for comparison."""

    def bits(image: Grey) -> Bits:
        cells = cv2.resize(image, (side + 1, side), interpolation=cv2.INTER_AREA)
        return np.asarray(cells[:, 1:] > cells[:, :-1], np.bool_).ravel()

    return bits


def spectral(image: Grey) -> Bits:
    """The project's hash as bits."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(perceptual_hash(image)), np.uint8)).astype(
        bool
    )


HASHES = {
    "pHash 64": discrete_cosine(8),
    "pHash 256": discrete_cosine(16),
    "dHash 64": gradient(8),
    "dHash 256": gradient(16),
    "spectral 396": spectral,
}


def read_all(root: Path) -> Iterator[tuple[Grey, str, str]]:
    """Every radiograph of the datasets below `root`, its image_id and whose it is."""
    for dataset in sorted({path.parent for path in root.glob("*/*.metadata.xlsx")}):
        for pair in list_dataset(dataset).pairs:
            rows = read_sheet(dataset / f"{pair.class_name}.metadata.xlsx").rows
            row = {name.lower(): row for name, row in rows.items()}.get(pair.name.lower(), {})
            patient = str(row.get("PATIENT") or pair.image_id)
            yield read_radiograph(dataset / pair.image), pair.image_id, patient


def distances(bits: NDArray[np.bool_], patients: NDArray[np.str_]) -> NDArray[np.int64]:
    """Distances of all pairs of different patients, sorted."""
    first, second = np.triu_indices(len(bits), 1)
    different = patients[first] != patients[second]
    signs = bits.astype(np.float32) * 2 - 1
    products = (signs @ signs.T)[first, second][different]
    return np.sort(((bits.shape[1] - products) / 2).astype(np.int64))


def expected_false(apart: NDArray[np.int64], threshold: int) -> float:
    """False pairs to expect among KAGGLE radiographs, from a line through the tail.

    Straight on a logarithmic scale between one pair in a thousand and one in 50,000: true tails
    fall faster than a line, so this is too many rather than too few.
    """
    common, rare = (float(apart[int(share * len(apart))]) for share in (1e-3, 2e-5))
    decades = (rare - threshold) * np.log10(50) / max(common - rare, 1)
    return float(2e-5 * 10**-decades * KAGGLE * (KAGGLE - 1) / 2)


def compare_hashes(images: list[Grey], patients: NDArray[np.str_]) -> None:
    """Print, for each hash, what it recognises at the same number of false pairs to expect."""
    hard = ("JPEG, quality 50", "gamma 0.8", "text in a corner", "2 % cut off all around")
    hard += ("shifted by 2 % right and down",)
    print(f"\n| hash | least distance | threshold | {' | '.join(hard)} |")
    print("|---" * (3 + len(hard)) + "|")
    for name, bits in HASHES.items():
        base = np.stack([bits(image) for image in images])
        apart = distances(base, patients)
        allowed = [at for at in range(base.shape[1]) if expected_false(apart, at) <= 1]
        at = max(allowed, default=-1)
        found = [
            np.mean([differ <= at for differ in moved(images, base, bits, KINDS[kind])])
            for kind in hard
        ]
        cells = " | ".join(f"{100 * share:.0f} %" for share in found)
        print(f"| {name} | {apart[0]} | {at if at >= 0 else 'none'} | {cells} |", flush=True)


def moved(
    images: list[Grey], base: Bits, bits: Callable[[Grey], Bits], change: Change
) -> list[int]:
    """Distance of each radiograph to its changed self."""
    pairs = zip(images, base, strict=True)
    return [int((bits(change(image)) != before).sum()) for image, before in pairs]


def show_thresholds(images: list[Grey], patients: NDArray[np.str_]) -> None:
    """Print the project's hash by threshold: false pairs, and recall by kind of change."""
    base = np.stack([spectral(image) for image in images])
    apart = distances(base, patients)
    print(
        f"\n{len(images)} radiographs, {len(apart)} pairs of different patients, nearest: "
        f"{apart[:8].tolist()}, mean {apart.mean():.0f}, deviation {apart.std():.1f}"
    )
    print(f"\n| | {' | '.join(f'<= {at}' for at in THRESHOLDS)} | 95 % within |")
    print("|---" * (2 + len(THRESHOLDS)) + "|")
    wrong = [int((apart <= at).sum()) for at in THRESHOLDS]
    print(f"| pairs of different patients | {' | '.join(map(str, wrong))} | |")
    expected = [f"{expected_false(apart, at):.2g}" for at in THRESHOLDS]
    print(f"| to expect among {KAGGLE:,} radiographs | {' | '.join(expected)} | |")
    for kind, change in KINDS.items():
        differ = np.array(moved(images, base, spectral, change))
        found = [(differ <= at).sum() for at in THRESHOLDS]
        cells = [
            f"{100 * n / len(images):.1f} % ({100 * n / max(n + no, 1):.1f} %)"
            for n, no in zip(found, wrong, strict=True)
        ]
        print(f"| {kind} | {' | '.join(cells)} | {np.quantile(differ, 0.95):.0f} |", flush=True)


def phantom_hash(index: int, class_name: str) -> str:
    """Hash of one synthetic radiograph."""
    return perceptual_hash(radiograph(1, index, class_name)[0])


def show_phantoms(count: int) -> None:
    """Print how many of `count` synthetic radiographs come near each other, at each threshold."""
    numbered = [(n, name) for name, many in class_counts(count).items() for n in range(many)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        hashes = list(pool.map(phantom_hash, *zip(*numbered, strict=True), chunksize=32))
    near = [f"{len(near_duplicates(hashes, at))} within {at}" for at in THRESHOLDS]
    print(f"\n{count} phantoms, {count * (count - 1) // 2} pairs: {', '.join(near)}")


def show_speed(image: Grey) -> None:
    """Print the time of a hash, and of the search among KAGGLE random hashes."""
    started = time.process_time()
    for _ in range(1000):
        perceptual_hash(image)
    hashing = time.process_time() - started
    random = np.random.default_rng(0)
    hashes = [random.bytes(50).hex() for _ in range(KAGGLE)]
    started = time.monotonic()
    near_duplicates(hashes, 72)
    print(
        f"\nhash {hashing:.2f} ms of processor time at {image.shape}; search among {KAGGLE:,}: "
        f"{time.monotonic() - started:.1f} s on {os.cpu_count()} {platform.machine()} cores"
    )


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--phantoms", type=int, default=0)
    parser.add_argument("--same", nargs="*", default=[])
    arguments = parser.parse_args()
    read = list(read_all(Path(os.environ["LUNGSEG_REAL_DATA"])))
    images = [image for image, _, _ in read]
    one = {patient for _, image_id, patient in read if image_id in arguments.same}
    patients = np.array(["one" if patient in one else patient for _, _, patient in read])
    show_speed(images[0])
    show_thresholds(images, patients)
    compare_hashes(images, patients)
    if arguments.phantoms:
        show_phantoms(arguments.phantoms)


if __name__ == "__main__":
    main()
