"""How long the report takes for a large test split, how large it is, and how quick its page.

    python -m benchmarks.report                 # 3,175 test radiographs, as in the database

Synthetic radiographs of 299 pixels with masks of 256 are repeated under new names, with made-up
answers: the reference moved by some pixels and blurred. Explanations, which are made of the few
worst cases only, are left out. Chromium opens the page from its file, without a window; the first
view is from the request until all tiles that are in sight are drawn, a filter from the input until
they are drawn again. Medians of several tries.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.dataset.splits.table import SPLIT, SPLIT_FILE, SplitRow
from pipeline.dataset.synthetic.phantom import radiograph
from pipeline.evaluation.confidence import bin_pixels
from pipeline.evaluation.metrics import METRICS_FILE
from pipeline.evaluation.per_image import ImageScores
from pipeline.evaluation.scoring import (
    PREDICTIONS,
    PROBABILITIES,
    Answer,
    score_answer,
    write_answer,
)
from pipeline.files import link_file, sha256_file
from pipeline.params_file import load_params
from pipeline.radiograph.grey import Grey
from pipeline.stages import report
from pipeline.stages.evaluate import Found
from pipeline.table_files import table_of
from tests.browser import CHROMIUM, DRIVER, FLAGS
from tests.stages.evaluated import write_counts, write_results, write_training

CLASSES = {"COVID": 542, "Lung_Opacity": 902, "Normal": 1529, "Viral Pneumonia": 202}
"""Test radiographs of each class, 15 % of the database."""
DRAWN = 24  # radiographs of a class that differ
TRIES = 5
PROJECT = Path(__file__).parents[1]
DRAWN_TILES = """
const done = arguments[arguments.length - 1], start = performance.now();
if (arguments[0]) {
  const field = document.forms.filters.elements[arguments[0]];
  field.value = arguments[1];
  field.dispatchEvent(new Event("input", {bubbles: true}));
}
const filled = () => [...document.querySelectorAll("#tiles canvas")].every((canvas) =>
  canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data
    .some((value, place) => place % 4 < 3 && value));
const end = () => done([performance.now() - start, performance.now()]);
const look = () => filled() ? requestAnimationFrame(end) : setTimeout(look, 5);
look();
"""
FILTERS = (
    ("class", "Normal"),
    ("sort", "hd95"),
    ("search", "1"),
    ("class", ""),
    ("dice-high", "0.9"),
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--share", type=float, default=1.0, help="of the radiographs")
    parser.add_argument("--keep", type=Path, help="a folder to leave the project in")
    arguments = parser.parse_args()
    cases = {name: max(1, round(arguments.share * count)) for name, count in CLASSES.items()}
    report.Explainer = _Silent  # type: ignore[misc,assignment]
    with tempfile.TemporaryDirectory() as temporary:
        root = arguments.keep or Path(temporary, "project")
        write_project(root, cases)
        params = load_params(PROJECT / "params.yaml")
        started = time.monotonic()
        report.run(params, root)
        seconds = time.monotonic() - started
        folder = root / "artifacts/report"
        page = folder / "index.html"
        whole = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        views, filters = _browse(page, Path(temporary))
        size = page.stat().st_size
    peak = max(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    radiographs = sum(cases.values())
    print(f"{platform.machine()}, {os.cpu_count()} cores, {radiographs} test radiographs")
    print("| what | found |\n|---|---|")
    print(f"| the stage report, without explanations | {seconds:.0f} s |")
    print(f"| largest process | {peak / 1024:.0f} MiB |")
    print(f"| folder | {whole / 1e6:.0f} MB |")
    print(f"| of it index.html | {size / 1e6:.1f} MB |")
    print(f"| first view, median of {TRIES} | {statistics.median(views):.2f} s |")
    print(f"| a filter, median of {len(filters)} | {statistics.median(filters):.3f} s |")
    print(f"| the slowest filter | {max(filters):.3f} s |")


class _Silent:
    """An explainer with nothing to say."""

    def __init__(self, network: Path) -> None:
        del network

    def explain(self, *_: object) -> tuple[()]:
        """Nothing."""
        return ()


def write_project(root: Path, cases: dict[str, int]) -> None:
    """A project after the stage evaluate with so many test radiographs of each class."""
    found, rows = Found(), []
    for class_name, count in cases.items():
        drawn = [_draw(root, class_name, n) for n in range(min(DRAWN, count))]
        for number in range(count):
            pair, answer, scores = drawn[number % len(drawn)]
            again = _repeat(root, pair, f"{class_name}/{class_name}-{number}")
            rows.append(again)
            found.scores.append(
                replace(
                    scores,
                    image_id=again.image_id,
                    group=again.group,
                    pixel_sha256=again.pixel_sha256,
                )
            )
            bins = bin_pixels(answer.probability, answer.truth)
            of_class = found.bins.get(class_name)
            found.bins[class_name] = of_class + bins if of_class else bins
    SPLIT.write(root / SPLIT_FILE, table_of(rows, SPLIT.columns))
    write_results(root / METRICS_FILE.parent, found)
    write_counts(root)
    write_training(root)


def _draw(root: Path, class_name: str, number: int) -> tuple[SplitRow, Answer, ImageScores]:
    image, truth = radiograph(7, number, class_name)
    rng = np.random.default_rng(number)
    moved = np.roll(truth, rng.integers(-8, 9, 2), (0, 1)).astype(np.float32)
    lung = cv2.GaussianBlur(moved, (0, 0), rng.uniform(2, 5))
    answer = Answer(image, truth, lung, (lung >= 0.5).astype(np.uint8))
    name = f"{class_name}/drawn-{number}"
    files = {kind: f"{kind}/{name}.png" for kind in ("images", "masks")}
    for kind, picture in (("images", image), ("masks", truth * np.uint8(255))):
        _write(root / "drawn" / files[kind], picture)
    write_answer(root / "drawn", name, answer)
    pair = SplitRow(
        image_id=name,
        class_name=class_name,
        image_path=files["images"],
        mask_path=files["masks"],
        image_sha256=sha256_file(root / "drawn" / files["images"]),
        mask_sha256=sha256_file(root / "drawn" / files["masks"]),
        pixel_sha256=name,
        group=name,
        source=f"made up {number % 3}",
        spacing=0.7 if number % 2 else float("nan"),
        split="test",
    )
    return pair, answer, score_answer(pair, answer)


def _write(path: Path, picture: Grey) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture)


def _repeat(root: Path, pair: SplitRow, image_id: str) -> SplitRow:
    """The same radiograph under another name."""
    class_name, _, name = image_id.partition("/")
    drawn, kept = root / "drawn", root / "data" / class_name
    places = {
        drawn / pair.image_path: kept / f"images/{name}.png",
        drawn / pair.mask_path: kept / f"masks/{name}.png",
    }
    for answers in (PREDICTIONS, PROBABILITIES):
        places[drawn / answers.name / f"{pair.image_id}.png"] = root / answers / f"{image_id}.png"
    for source, target in places.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        link_file(source, target)
    return replace(
        pair,
        image_id=image_id,
        image_path=f"{class_name}/images/{name}.png",
        mask_path=f"{class_name}/masks/{name}.png",
        pixel_sha256=image_id,
        group=image_id,
    )


def _browse(page: Path, temporary: Path) -> tuple[list[float], list[float]]:
    """Seconds of first views and of filters."""
    views = []
    for number in range(TRIES):
        for browser in _browser(temporary / f"profile-{number}"):
            browser.get("about:blank")
            browser.get(page.as_uri())
            # performance.now() counts from when the page was asked for.
            views.append(browser.execute_async_script(DRAWN_TILES, "", "")[1] / 1000)
    filters = []
    for browser in _browser(temporary / "profile"):
        browser.get(page.as_uri())
        browser.execute_async_script(DRAWN_TILES, "", "")
        for _ in range(TRIES):
            for field, value in FILTERS:
                taken: Callable[..., Any] = browser.execute_async_script
                filters.append(taken(DRAWN_TILES, field, value)[0] / 1000)
            browser.execute_script("document.forms.filters.reset()")
    return views, filters


def _browser(profile: Path) -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS.split():
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={profile}")
    driver = webdriver.Chrome(options, Service(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()
        shutil.rmtree(profile, ignore_errors=True)


if __name__ == "__main__":
    main()
