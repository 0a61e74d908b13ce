"""Synthetic deliveries and temporary projects under git and DVC."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.dataset.delivery.deliveries import Deliver, shell, write_pair


@pytest.fixture
def deliver(tmp_path: Path) -> Deliver:
    """Make a folder of `count` pairs per class, numbered from `first`."""

    def make(
        *classes: str, name: str = "delivery", count: int = 2, first: int = 1, side: int = 64
    ) -> Path:
        for class_name in classes:
            for number in range(first, first + count):
                pair = f"{class_name}-{number}"
                write_pair(tmp_path / name, class_name, pair, number, side)
        return tmp_path / name

    return make


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template") / "project"
    folder.mkdir()
    shell(
        folder,
        "git init -q . && git config user.name Tester && git config user.email t@example.org && "
        f"{sys.executable} -m dvc init -q && git commit -qm 'Start'",
    )
    return folder


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LUNGSEG_HOME", str(tmp_path / "home"))


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Path:
    """An empty project under git and DVC."""
    return Path(shutil.copytree(template, tmp_path / "project"))


@pytest.fixture
def real_data() -> Path:
    folder = os.environ.get("LUNGSEG_REAL_DATA")
    if not folder:
        pytest.skip("LUNGSEG_REAL_DATA names no folder of real radiographs")
    return Path(folder)
