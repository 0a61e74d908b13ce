"""Damaged and malicious files, read in a process of its own so that its memory can be measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROJECT
from tests.radiograph.bombs import BOMBS
from tests.radiograph.mutations import COUNT


def reading(kind: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-W", "error", "-m", "tests.radiograph.mutations", kind, str(folder)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(line.startswith(f"{folder}/a.") for line in done.stderr.splitlines())
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.slow
def test_damaged_files_are_read_or_refused_and_nothing_else(tmp_path: Path) -> None:
    report = reading("damaged", tmp_path)

    assert report["wrong"] == []
    assert report["peak"] < 512 * 2**20
    outcomes = report["outcomes"]
    assert sum(outcomes.values()) == 2 * COUNT
    loaded = {"loaded L", "loaded RGB", "loaded I;16", "loaded MONOCHROME1", "loaded MONOCHROME2"}
    refused = {"truncated", "not_png", "not_dicom", "too_large", "geometry", "mode"}
    assert loaded | refused | {"mask_values", "not_grayscale"} <= set(outcomes)


@pytest.mark.slow
def test_bombs_take_next_to_no_memory(tmp_path: Path) -> None:
    report = reading("bombs", tmp_path)

    assert report["wrong"] == []
    assert report["outcomes"] == {"too_large": 2 * len(BOMBS)}
    assert report["growth"] < 50 * 2**20
