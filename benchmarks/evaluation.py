"""How long the scores of 3,175 test radiographs take, prediction excluded.

    python -m benchmarks.evaluation

Reference masks are those of the dataset below data/, repeated; a prediction is the mask moved by
some pixels and roughened. The borders are measured by our code and by ten lines of SciPy.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.dataset.layout import list_dataset
from pipeline.dataset.splits.table import SplitRow
from pipeline.evaluation.boundary import border_scores
from pipeline.evaluation.metrics import Metrics
from pipeline.evaluation.per_image import per_image_table
from pipeline.evaluation.scoring import Answer, score_answer
from pipeline.radiograph.reading import read_mask

RADIOGRAPHS = 3175
SIDE = 256
BORDERS = 200  # pairs for the two sides of the borders
REPEATS = 3
CROSS = ndimage.generate_binary_structure(2, 1)

Mask = NDArray[np.uint8]


def main() -> None:
    """Print the table."""
    pairs = list_dataset(Path("data")).pairs
    truths = [_at_side(read_mask(Path("data") / pair.mask)) for pair in pairs]
    answers = [_answer(truth, seed) for seed, truth in enumerate(truths)]
    print(f"{platform.machine()}, {os.cpu_count()} cores, {RADIOGRAPHS} radiographs of {SIDE} px")
    some = list(islice(cycle(answers), BORDERS))
    ours = _median(lambda: [border_scores(one.mask, one.truth) for one in some])
    scipy = _median(lambda: [_by_scipy(one.mask, one.truth) for one in some])
    print(f"borders of {BORDERS} pairs: ours {ours:.2f} s, SciPy {scipy:.2f} s")
    started = time.perf_counter()
    scored = [
        replace(score_answer(_row(number), answer), group=f"{number // 2}")
        for number, answer in enumerate(islice(cycle(answers), RADIOGRAPHS))
    ]
    table = per_image_table(scored)
    print(f"scores, both lungs and each apart: {time.perf_counter() - started:.1f} s")
    print(f"means and intervals: {_median(lambda: Metrics.of(table)):.1f} s")


def _at_side(mask: Mask) -> Mask:
    return np.asarray(cv2.resize(mask, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST))


def _answer(truth: Mask, seed: int) -> Answer:
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.standard_normal(truth.shape), (0, 0), 6)
    soft = cv2.GaussianBlur(truth.astype(np.float32), (0, 0), 2) + noise.astype(np.float32)
    lung = np.clip(np.roll(soft, tuple(rng.integers(-3, 4, 2)), (0, 1)), 0, 1)
    return Answer(truth, truth, lung, (lung >= 0.5).astype(np.uint8))


def _row(number: int) -> SplitRow:
    name = f"{'ABCD'[number % 4]}/{number}"
    return SplitRow(name, name[0], "", "", "", "", name, name, "", float("nan"), "test")


def _by_scipy(prediction: Mask, truth: Mask) -> tuple[float, float, float]:
    ours, theirs = (
        mask & ~ndimage.binary_erosion(mask, CROSS) for mask in (prediction == 1, truth == 1)
    )
    to_theirs = ndimage.distance_transform_edt(~theirs)[ours]
    to_ours = ndimage.distance_transform_edt(~ours)[theirs]
    distances = np.concatenate([to_theirs, to_ours])
    return float(np.percentile(distances, 95)), distances.mean(), float(np.mean(distances <= 2))


def _median(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
