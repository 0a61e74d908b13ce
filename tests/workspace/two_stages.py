"""A project of two small stages, on one host or several."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pipeline.settings import child_environment
from pipeline.workspace.workspace import Workspace
from tests.conftest import git

GRAPH = """
stages:
  upper:
    cmd: python upper.py
    deps: [data, upper.py]
    outs: [artifacts/upper.txt]
  twice:
    cmd: python twice.py
    deps: [artifacts/upper.txt, twice.py]
    metrics: [artifacts/twice.json]
    plots:
      - artifacts/twice.csv: {x: a}
"""
UPPER = """
import pathlib
pathlib.Path("artifacts").mkdir(exist_ok=True)
text = pathlib.Path("data/text.txt").read_text().upper()
pathlib.Path("artifacts/upper.txt").write_text(text)
"""
TWICE = """
import json, pathlib
text = pathlib.Path("artifacts/upper.txt").read_text()
pathlib.Path("artifacts/twice.json").write_text(json.dumps({"length": 2 * len(text)}))
pathlib.Path("artifacts/twice.csv").write_text("a\\n1\\n")
"""


def dvc(folder: Path, *arguments: str) -> None:
    subprocess.run(["dvc", *arguments], cwd=folder, env=child_environment(), check=True)


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message=next")


def record_other_data(project: Path) -> None:
    (project / "data/text.txt").write_text("lungs and heart")
    dvc(project, "add", "--quiet", "data")
    dvc(project, "push", "--quiet", "data")
    commit(project)


def checkout(project: Path, name: str) -> Workspace:
    """A clone with an empty cache of its own, as another host would have it."""
    folder = project.with_name(name)
    git(project.parent, "clone", "--quiet", str(project), str(folder))
    return Workspace(folder, "HEAD", Path(sys.executable))
