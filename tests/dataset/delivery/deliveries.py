"""Synthetic deliveries: pairs, metadata sheets, and a shell to look at projects with."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openpyxl import Workbook
from PIL import Image

from pipeline.dataset.delivery.importing import import_dataset
from pipeline.errors import DatasetError
from pipeline.settings import child_environment

Deliver = Callable[..., Path]


def write_pair(root: Path, class_name: str, name: str, seed: int, side: int = 64) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)
    mask = np.zeros((256, 256, 3), np.uint8)
    mask[60:200, 40 + seed % 20 : 110] = 255
    for half, pixels in (("images", noise), ("masks", mask)):
        path = root / class_name / half / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


def write_sheet(path: Path, *lines: tuple[Any, ...]) -> None:
    workbook = Workbook()
    sheet = workbook.active
    assert sheet is not None
    for line in lines:
        sheet.append(line)
    workbook.save(path)


def shell(folder: Path, command: str) -> str:
    done = subprocess.run(
        ["/bin/sh", "-ec", command],
        cwd=folder,
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def refusal(source: Path, project: Path, append: bool = False) -> str:
    """The one line of a refused import, which must leave the project as it was."""
    before = snapshot(project)

    with pytest.raises(DatasetError) as caught:
        import_dataset(source, project, append)

    assert snapshot(project) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def snapshot(project: Path) -> dict[str, bytes | None]:
    """Everything in the project but the insides of git and DVC."""
    return {
        str(path.relative_to(project)): path.read_bytes() if path.is_file() else None
        for path in sorted(project.rglob("*"))
        if path.relative_to(project).parts[0] not in (".git", ".dvc")
    }


def add_text(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path
