"""dvc.yaml against the code: what a stage imports is what it depends on."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

from pipeline.fingerprints import MODEL_FILES
from pipeline.params import load_params
from tests.conftest import PROJECT

STAGES = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]

# Cannot change a result, nor can what they import: values of params and its transforms are tracked
# as params, the others hold no behaviour or, as live, only look on.
NOT_TRACKED = {
    "pipeline/__init__.py",
    "pipeline/errors.py",
    "pipeline/params.py",
    "pipeline/settings.py",
    "pipeline/transforms.py",
    "pipeline/release/__init__.py",
    "pipeline/release/live.py",
    "pipeline/dataset/__init__.py",
    "pipeline/stages/__init__.py",
}


def imported_files(path: Path) -> set[Path]:
    """The project's modules that a module imports, its packages included."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pipeline"):
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                base = PROJECT / Path(*str(name).split("."))
                found |= {
                    file
                    for file in (base.with_suffix(".py"), base / "__init__.py")
                    if file.is_file()
                }
    return found


def _tracked(path: Path) -> bool:
    return path.relative_to(PROJECT).as_posix() not in NOT_TRACKED


def code_of(path: Path) -> set[Path]:
    files, open_files = {path}, [path]
    while open_files:
        new = imported_files(open_files.pop()) - files
        files |= new
        open_files.extend(file for file in new if _tracked(file))
    return files


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_all_the_code_it_runs(name: str) -> None:
    listed = [PROJECT / dep for dep in STAGES[name]["deps"]]
    code = code_of(PROJECT / "pipeline/stages" / f"{name}.py")

    missing = {
        file.relative_to(PROJECT).as_posix()
        for file in code
        if not any(file.is_relative_to(dep) for dep in listed)
    }

    assert missing - NOT_TRACKED == set()


@pytest.mark.parametrize("name", STAGES)
def test_every_code_dependency_exists(name: str) -> None:
    code = [dep for dep in STAGES[name]["deps"] if dep.startswith("pipeline/")]

    assert [dep for dep in code if not (PROJECT / dep).exists()] == []


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_is_one_module_one_verb_and_one_section(name: str) -> None:
    assert STAGES[name]["cmd"] == f"python -m pipeline stage {name}"
    assert (PROJECT / "pipeline/stages" / f"{name}.py").is_file()
    assert name in load_params(PROJECT / "params.yaml").model_dump(by_alias=True)
    assert name in STAGES[name]["params"]


def test_what_mlflow_shows_of_a_stage_is_among_its_outputs() -> None:
    for stage in STAGES.values():
        declared = {
            entry if isinstance(entry, str) else next(iter(entry))
            for kind in ("outs", "metrics", "plots")
            for entry in stage.get(kind, [])
        }
        shown = stage["meta"]["mlflow"]
        paths = {*shown.get("artifacts", []), *shown.get("metrics", {}).values()}
        paths |= {shown["curves"]} if "curves" in shown else set()
        paths |= {f"{shown['model']}/{name}" for name in MODEL_FILES} if "model" in shown else set()
        assert [path for path in paths if not {path, str(Path(path).parent)} & declared] == []


def test_the_package_has_no_folder_that_shadows_a_library() -> None:
    for name in ("mlflow", "docker"):
        assert not (PROJECT / name / "__init__.py").exists()
