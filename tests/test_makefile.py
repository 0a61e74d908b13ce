from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import PROJECT

UV = """#!/bin/sh
echo "$@" >> {told}
mkdir -p .venv
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `make setup` reads, and a uv that writes down what it is told."""
    folder = tmp_path / "project"
    (folder / ".venv").mkdir(parents=True)
    for name in ("Makefile", "uv.lock", "pyproject.toml"):
        shutil.copy(PROJECT / name, folder / name)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/uv").write_text(UV.format(told=tmp_path / "told"))
    (tmp_path / "bin/uv").chmod(0o755)
    for name in ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL"):  # of a make that tests
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return folder


def setup(folder: Path, *arguments: str) -> int:
    """How often uv was asked until `make setup` was done."""
    told = folder.parent / "told"
    subprocess.run(["make", "setup", *arguments], cwd=folder, check=True, capture_output=True)
    return len(told.read_text().splitlines()) if told.exists() else 0


def test_the_environment_is_made_once_and_anew_where_the_project_was_moved_to(
    project: Path,
) -> None:
    assert [setup(project), setup(project)] == [1, 1]
    (project / ".venv/of the old place").touch()

    moved = project.rename(project.with_name("a new place"))

    assert [setup(moved), setup(moved)] == [2, 2]
    assert not (moved / ".venv/of the old place").exists()


def test_the_libraries_of_gpus_stay_until_others_are_asked_for(project: Path) -> None:
    told = project.parent / "told"
    assert [setup(project, "EXTRA=gpu"), setup(project), setup(project, "EXTRA=gpu")] == [1, 1, 1]
    (project / "uv.lock").touch()

    assert [setup(project), setup(project, "EXTRA=gpu gpu-jax"), setup(project)] == [2, 3, 3]
    moved = project.rename(project.with_name("elsewhere"))
    assert [setup(moved), setup(moved, "EXTRA=")] == [4, 5]

    asked = [re.findall("--extra=([a-z-]+)", line) for line in told.read_text().splitlines()]
    assert asked == [
        ["dev", "gpu"],
        ["dev", "gpu"],
        ["dev", "gpu", "gpu-jax"],
        ["dev", "gpu", "gpu-jax"],
        ["dev"],
    ]


def test_clean_removes_the_projects_own_state_and_neither_a_cache_nor_another_home(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, other = project.parent / "told", project.parent / "home"
    (project.parent / "bin/uv").write_text(f'#!/bin/sh\necho "$LUNGSEG_HOME $@" >> {told}\n')
    monkeypatch.setenv("LUNGSEG_HOME", str(other))
    kept = [other / "keys/key", project / ".lungseg/cache/files/one", project / "data/one"]
    gone = [project / "artifacts/one", project / ".lungseg/runs/one", project / ".lungseg/.one"]
    for path in (*kept, *gone):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    subprocess.run(["make", "clean"], cwd=project, check=True, capture_output=True)

    assert [path for path in (*kept, *gone) if path.exists()] == kept
    assert told.read_text().splitlines()[-1] == " run --frozen --no-sync lungseg down"
