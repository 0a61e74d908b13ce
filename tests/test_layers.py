"""The direction of imports, and which of them may wait until a function is called."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.needed import distributions, installed_with, needed_by

HEAVY = {
    "albumentations",
    "boto3",
    "dvc",
    "great_expectations",
    "h5py",
    "kagglehub",
    "jax",
    "keras",
    "mlflow",
    "onnx",
    "openpyxl",
    "openvino",
    "optuna",
    "pydicom",
    "segmentation_models",
    "tensorflow",
}
"""Packages that take over 0.1 s to import; benchmarks/start.py measures them."""
OPTIONAL = {"celery"}
"""Packages that the host which imports them may lack."""
ALONG = {"botocore", "google", "requests"}
"""Packages that one of HEAVY has imported already, where they are imported."""
IMPORTED = re.compile(r"from (pipeline[\w.]*) import \(?((?:\w+(?: as \w+)?,?\s*?)+)")
"""In any text: a module of ours, and what is imported from it."""


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    command = [program, "--no-logo", "--no-cache", "--config", folder / "pyproject.toml"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package and its contracts, to be spoilt."""
    shutil.copytree(PROJECT / "pipeline", tmp_path / "pipeline")
    shutil.copy(PROJECT / "pyproject.toml", tmp_path / "pyproject.toml")
    return tmp_path


def test_no_import_goes_up(copy: Path) -> None:
    kept = lint(copy)

    assert kept.returncode == 0, kept.stdout
    assert "2 kept, 0 broken" in kept.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("dataset/layout.py", "from pipeline.stages import validate"),
        ("radiograph/reading.py", "import pipeline.dataset.layout"),
        ("release/gate.py", "from pipeline.stages.evaluate import run"),
        ("dataset/splits/groups.py", "from pipeline.dataset.validation import pairs"),
        ("files.py", "def hidden():\n    from pipeline.run import task\n    return task"),
    ],
)
def test_an_arrow_turned_back_breaks_the_contract(copy: Path, module: str, line: str) -> None:
    path = copy / "pipeline" / module
    path.write_text(f"{path.read_text()}\n{line}\n")

    assert lint(copy).returncode == 1


def test_a_new_room_must_be_given_its_place(copy: Path) -> None:
    (copy / "pipeline/attic").mkdir()
    (copy / "pipeline/attic/__init__.py").touch()

    broken = lint(copy)

    assert broken.returncode == 1
    assert "attic" in broken.stdout + broken.stderr


def deferred_imports(path: Path) -> set[str]:
    """What a module imports inside of functions, by full name."""
    found: set[str] = set()
    for function in ast.walk(ast.parse(path.read_text())):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    found |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    found.add(str(node.module))
    return found


def imports_heavy(module: str) -> bool:
    """Whether importing a module imports one of HEAVY, itself or by what it imports."""
    open_names, seen = [module], set()
    while open_names:
        name = open_names.pop()
        if name.partition(".")[0] in HEAVY | ALONG:
            return True
        path = PROJECT / Path(*name.split(".")).with_suffix(".py")
        if name in seen or not path.is_file():
            continue
        seen.add(name)
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and not node.level:
                open_names += [str(node.module), *(f"{node.module}.{a.name}" for a in node.names)]
            elif isinstance(node, ast.Import):
                open_names += [alias.name for alias in node.names]
    return False


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.relative_to(PROJECT).as_posix())
        for path in sorted((PROJECT / "pipeline").rglob("*.py"))
        if "cli" not in path.parts and deferred_imports(path)
    ],
)
def test_an_import_waits_only_where_that_saves_time(path: Path) -> None:
    """Outside of the command line, whose verbs must not wait for each other's imports."""
    assert {name for name in deferred_imports(path) if not imports_heavy(name)} <= OPTIONAL


@pytest.mark.parametrize(
    "module",
    [
        "pipeline.serving.masks",
        "pipeline.release.history",
        "pipeline.release.release_tables",
        "pipeline.release.signing",
        "pipeline.release.verification",
        "pipeline.tracking.client",
    ],
)
def test_what_consumers_and_auditors_import_comes_without_an_extra(module: str) -> None:
    """What `lungseg predict` and `lungseg releases` import; the slow tests run these."""
    program = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True
    )

    needed = distributions(needed_by(json.loads(done.stdout)))

    assert needed - installed_with("lungseg") == set()


@cache
def names_of(module: str) -> set[str]:
    """What can be imported from a module or a package of ours; empty when there is none."""
    path = PROJECT / Path(*module.split("."))
    found = {one.stem for one in path.iterdir()} if path.is_dir() else set()
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.walk(ast.parse(file.read_text())) if file.is_file() else ():
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {alias.asname or alias.name for alias in node.names}
    return found


def test_what_benchmarks_documents_and_programs_in_texts_import_is_there() -> None:
    """mypy reads none of these."""
    folders = ("benchmarks", "docs", "docker", "tests")
    files = [path for one in folders for path in (PROJECT / one).rglob("*.*")]
    missing = [
        f"{path.relative_to(PROJECT)}: {module}.{name}"
        for path in files
        if path.suffix in (".py", ".md", ".sh") and "old_layout" not in path.parts
        for module, names in IMPORTED.findall(path.read_text())
        for name in re.split(r"[,\s]+", re.sub(r" as \w+", "", names).strip())
        if name and name not in names_of(module)
    ]

    assert missing == []
