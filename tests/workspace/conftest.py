from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import git
from tests.workspace.two_stages import GRAPH, TWICE, UPPER, commit, dvc


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a project and the remote beside it, which the project names by `../store`."""
    folder = tmp_path_factory.mktemp("template") / "project"
    (folder / "data").mkdir(parents=True)
    (folder / "data/text.txt").write_text("lungs")
    for name, text in {"dvc.yaml": GRAPH, "upper.py": UPPER, "twice.py": TWICE}.items():
        (folder / name).write_text(text)
    git(folder, "init", "--quiet", "--initial-branch=main")
    dvc(folder, "init", "--quiet")
    dvc(folder, "remote", "add", "--quiet", "--default", "store", "../store")
    dvc(folder, "add", "--quiet", "data")
    dvc(folder, "push", "--quiet", "data")
    commit(folder)
    return folder.parent


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Path:
    """A repository of two stages whose data lie in a remote outside of it."""
    for name in ("project", "store"):
        shutil.copytree(template / name, tmp_path / name)
    return tmp_path / "project"
