"""How often validation's flags (plausibility.py) are raised, rightly and wrongly.

    LUNGSEG_REAL_DATA=path/to/radiographs python benchmarks/plausibility.py

The folder holds COVID-19_Radiography_Dataset/ and increment_COVID/ in the dataset's layout, all
frontal and upright, and not_frontal_chest/ with other pictures of the chest. Faults are planted
into a copy in memory, so many at a time as the table says, and the flags of all are counted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.dataset.layout import list_dataset
from pipeline.dataset.validation.plausibility import mask_flags, orientation_flags, thumbnail
from pipeline.params import ValidateParams
from pipeline.params_file import load_params
from pipeline.radiograph.grey import Grey
from pipeline.radiograph.reading import read_mask, read_radiograph

PROJECT = Path(__file__).parents[1]
FLAGS = ("rotated", "mirrored", "not_frontal")
PLANTED = 100  # radiographs of which every rotation and the mirror image is planted
SHARE = 28  # one planted in so many

Pictures = NDArray[np.float32]


def read_pairs(root: Path) -> tuple[Pictures, list[Grey]]:
    """Thumbnails (n, 32, 32) and the masks of a dataset."""
    pairs = list_dataset(root).pairs
    pictures = np.stack([thumbnail(read_radiograph(root / pair.image)) for pair in pairs])
    return pictures, [read_mask(root / pair.mask) for pair in pairs]


def count(flags: list[list[str]]) -> dict[str, int]:
    """How many pictures have each flag, and how many have any."""
    counted = {name: sum(name in found for found in flags) for name in FLAGS}
    return counted | {"any": sum(map(bool, flags))}


def report(name: str, flags: list[list[str]]) -> None:
    """Print a row: how many of these pictures got which flag."""
    found = "  ".join(f"{flag} {number}" for flag, number in count(flags).items())
    print(f"  {name:<34} n {len(flags):>4}  {found}", flush=True)


def plant(good: Pictures, change: Callable[[Pictures], Pictures], batches: int) -> list[list[str]]:
    """The flags of PLANTED changed pictures, planted in so many batches."""
    chosen = np.linspace(0, len(good) - 1, PLANTED).astype(int)
    flags = []
    for batch in range(batches):
        rows = chosen[batch::batches]
        pictures = good.copy()
        pictures[rows] = change(good[rows])
        found = orientation_flags(pictures)
        flags += [found[row] for row in rows]
    return flags


def rotate(quarters: int) -> Callable[[Pictures], Pictures]:
    """Turn pictures by so many quarters."""
    return lambda pictures: np.rot90(pictures, quarters, axes=(1, 2))


def measure_orientation(name: str, good: Pictures, strange: Pictures) -> None:
    """Print how the flags of one dataset come out."""
    print(f"{name}: {len(good)} frontal radiographs")
    report("as they are (all flags are false)", orientation_flags(good))
    batches = -(-PLANTED * SHARE // len(good))
    for quarters in (1, 2, 3):
        flags = plant(good, rotate(quarters), batches)
        report(f"rotated by {90 * quarters}, in {batches} batches", flags)
    report(f"mirrored, in {batches} batches", plant(good, lambda p: p[:, :, ::-1], batches))
    one = [orientation_flags(np.concatenate([good, picture[None]]))[-1] for picture in strange]
    report("not frontal, one at a time", one)
    together = orientation_flags(np.concatenate([good, strange]))
    report("not frontal, all at once", together[len(good) :])


def largest_only(mask: Grey) -> Grey:
    """The mask without all but its largest part."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    return (labels == largest).astype(np.uint8)


def measure_masks(name: str, masks: list[Grey], params: ValidateParams) -> None:
    """Print the flags of a dataset's masks, and of the same masks with one lung removed."""
    for kind, shown in (("", masks), (", smaller lung removed", list(map(largest_only, masks)))):
        flags = [mask_flags(mask, params) for mask in shown]
        names = sorted({flag for found in flags for flag in found})
        found = "  ".join(f"{flag} {sum(flag in f for f in flags)}" for flag in names)
        print(f"  {name}{kind}: n {len(masks)}  {found or 'no flag'}")


def measure_speed(good: Pictures, pairs: int = 21_165) -> None:
    """Print the time of the largest public dataset's size."""
    pictures = np.resize(good, (pairs, *good.shape[1:]))
    started = time.monotonic()
    orientation_flags(pictures)
    print(f"{pairs} radiographs: {time.monotonic() - started:.1f} s")


def main() -> None:
    """Measure and print."""
    folder = Path(os.environ["LUNGSEG_REAL_DATA"])
    params = load_params(PROJECT / "params.yaml").validate_
    base, base_masks = read_pairs(folder / "COVID-19_Radiography_Dataset")
    later, later_masks = read_pairs(folder / "increment_COVID")
    files = sorted((folder / "not_frontal_chest").iterdir())
    strange = np.stack([thumbnail(np.asarray(Image.open(file).convert("L"))) for file in files])
    measure_orientation("two classes", base, strange)
    measure_orientation("three classes", np.concatenate([base, later]), strange)
    measure_orientation("one small class", later, strange)
    print("masks")
    measure_masks("two classes", base_masks, params)
    measure_masks("later class", later_masks, params)
    measure_speed(base)


if __name__ == "__main__":
    main()
