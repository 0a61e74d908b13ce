"""The same picture in many files: read alike, or refused, or read with a note."""

from __future__ import annotations

import io
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmwrite
from pydicom.dataset import FileDataset

from pipeline.errors import UnreadableError
from pipeline.radiograph.reading import load_radiograph
from tests.radiograph.ways import broken, picture, written

LEVELS = 2
SECONDS = 2
PICTURE = picture()


def saved(path: Path, dataset: FileDataset) -> Path:
    """Write the file as it is, whatever pydicom thinks of it."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcmwrite(buffer, dataset, enforce_file_format=True)
    path.write_bytes(buffer.getvalue())
    return path


def legal_ways_read_alike(folder: Path, numbers: range) -> None:
    differing = {}
    for number in numbers:
        path = saved(folder / "a.dcm", written(np.random.default_rng(number), PICTURE))
        found = load_radiograph(path).pixels.astype(int)
        if (worst := int(np.abs(found - PICTURE).max())) > LEVELS:
            differing[number] = worst
    assert differing == {}


def illegal_ways_are_told(folder: Path, numbers: range) -> None:
    silent, slow = {}, {}
    for number in numbers:
        dice = np.random.default_rng(number)
        path = saved(folder / "a.dcm", broken(dice, written(dice, PICTURE)))
        started = time.process_time()
        try:
            found = load_radiograph(path)
        except UnreadableError:
            pass
        else:
            told = [note for note in found.notes if "inverted" not in note]
            differs = found.pixels.shape != PICTURE.shape or (
                np.abs(found.pixels.astype(int) - PICTURE).max() > LEVELS
            )
            if differs and not told:
                silent[number] = found.mode
        if (seconds := time.process_time() - started) > SECONDS:
            slow[number] = seconds
    assert (silent, slow) == ({}, {})


def test_legal_ways_read_alike(tmp_path: Path) -> None:
    legal_ways_read_alike(tmp_path, range(40))


@pytest.mark.slow
def test_200_legal_ways_read_alike(tmp_path: Path) -> None:
    legal_ways_read_alike(tmp_path, range(200))


def test_illegal_ways_are_told(tmp_path: Path) -> None:
    illegal_ways_are_told(tmp_path, range(60))


@pytest.mark.slow
def test_500_illegal_ways_are_told(tmp_path: Path) -> None:
    illegal_ways_are_told(tmp_path, range(500))
