"""Which code a result was made by: the files that dvc.yaml lists for its stage, and their hash."""

from __future__ import annotations

from pathlib import Path

import pipeline
from pipeline.files import sha256_files
from pipeline.stage_graph import stage_definition

ROOT = Path(pipeline.__file__).parents[1]
"""The project whose code runs."""


def code_files(stage: str, root: Path = ROOT) -> dict[str, Path]:
    """The code that dvc.yaml lists for the stage, by path from the project's `root`, sorted.

    Folders are listed file by file. Raises ParamsError for a stage that dvc.yaml does not have.
    """
    listed = [root / dep for dep in stage_definition(root, stage).code]
    files = {file for path in listed for file in (path.rglob("*") if path.is_dir() else [path])}
    code = {
        file.relative_to(root).as_posix(): file
        for file in files
        if file.is_file() and "__pycache__" not in file.parts
    }
    return dict(sorted(code.items()))


def code_sha256(stage: str, root: Path = ROOT) -> str:
    """One hash for the code of a stage: path and bytes of each file."""
    return sha256_files(code_files(stage, root))
