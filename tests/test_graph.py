"""dvc.yaml against the code: what a stage imports is what it depends on."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

from pipeline.fingerprints import code_files
from pipeline.inference.model_files import MODEL_FILES
from pipeline.params_file import load_params
from tests.conftest import PROJECT

INCLUDED = re.compile(r'{%-? include "([^"]+)"')
STAGES = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]

# What a stage reaches but does not depend on, nor on what that imports.
NO_EFFECT = {
    "pipeline/params.py": "its values are tracked, as params",
    "pipeline/params_file.py": "how they are read, and what is said of wrong ones",
    "pipeline/stage_graph.py": "what it says of dvc.yaml, DVC compares itself",
    "pipeline/settings.py": "where things are on this machine",
    "pipeline/remote_store.py": "takes files from host to host",
    "pipeline/errors.py": "what is said when there is no result",
    "pipeline/worker_pool.py": "how many processes share the work changes no result",
    "pipeline/tracking/live.py": "looks on while a network is trained",
    "pipeline/services/gpu_cards.py": "warns of cards that the engine does not see",
}


def imported_files(path: Path) -> set[Path]:
    """The project's modules that a module imports, and what stands beside it that it names.

    That is templates and scripts of a module, and what a template includes.
    """
    found: set[Path] = set()
    if path.suffix == ".jinja":
        return {path.with_name(name) for name in INCLUDED.findall(path.read_text())}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            found |= _modules(path, node)
        elif isinstance(node, ast.Import):
            found |= {file for alias in node.names for file in _files(alias.name)}
        elif isinstance(node, ast.Constant) and str(node.value).endswith((".jinja", ".js")):
            found.add(path.with_name(str(node.value)))
    return found


def _modules(path: Path, node: ast.ImportFrom) -> set[Path]:
    package = path.relative_to(PROJECT).parts[: -node.level] if node.level else ()
    base = ".".join([*package, *([node.module] if node.module else [])])
    return {
        file for alias in node.names for file in (*_files(base), *_files(f"{base}.{alias.name}"))
    }


def _files(name: str) -> set[Path]:
    base = PROJECT / Path(*name.split("."))
    files = (
        {base.with_suffix(".py"), base / "__init__.py"} if name.startswith("pipeline") else set()
    )
    return {file for file in files if file.is_file()}


def name_of(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


def _only_says_what_it_is(path: Path) -> bool:
    """Whether a module holds no code, as most packages' own."""
    return path.suffix == ".py" and all(
        isinstance(node, ast.Expr) for node in ast.parse(path.read_text()).body
    )


def code_of(name: str) -> set[str]:
    """The code that can change what a stage writes: all that it reaches."""
    first = PROJECT / "pipeline/stages" / f"{name}.py"
    files, open_files = {first}, [first]
    while open_files:
        file = open_files.pop()
        if file.suffix in (".py", ".jinja"):
            new = {one for one in imported_files(file) - files if name_of(one) not in NO_EFFECT}
            files |= new
            open_files.extend(new)
    return {name_of(file) for file in files if not _only_says_what_it_is(file)}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_all_the_code_it_runs(name: str) -> None:
    assert code_of(name) - code_files(name, PROJECT).keys() == set()


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_no_code_that_it_does_not_run(name: str) -> None:
    listed = {
        file for file in code_files(name, PROJECT) if not _only_says_what_it_is(PROJECT / file)
    }

    assert listed - code_of(name) == set()


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("pipeline/dataset/delivery/kaggle.py", set()),
        ("pipeline/inference/pyfunc.py", set()),
        ("pipeline/inference/packaging.py", set()),
        ("pipeline/serving/masks.py", set()),
        ("pipeline/evaluation/scores.py", {"evaluate", "report"}),
        ("pipeline/model/losses.py", {"train"}),
        ("pipeline/inference/predictor.py", {"train", "evaluate", "report"}),
        ("pipeline/augmentation/copies.py", {"augment", "train"}),
        ("pipeline/report/page.js", {"report"}),
    ],
)
def test_an_edit_re_runs_just_the_stages_that_it_can_change(file: str, stages: set[str]) -> None:
    assert {name for name in STAGES if file in code_files(name, PROJECT)} == stages


@pytest.mark.parametrize("file", NO_EFFECT)
def test_what_has_no_effect_on_results_exists(file: str) -> None:
    assert (PROJECT / file).is_file()


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


def test_the_report_depends_on_every_section_but_that_of_the_parts() -> None:
    sections = set(load_params(PROJECT / "params.yaml").model_dump(by_alias=True))

    assert set(STAGES["report"]["params"]) == sections - {"stages"}


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
