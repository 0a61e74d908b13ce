"""The direction of imports, and which of them may wait until a function is called."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
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
