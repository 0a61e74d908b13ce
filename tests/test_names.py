"""One name for one thing: no two modules of pipeline/ share a public name or a file's name."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

from tests.conftest import PROJECT

MODULES = sorted((PROJECT / "pipeline").rglob("*.py"))

SHARED = {
    "run": "of the modules of pipeline/stages, which the command calls by the name of the stage",
    "run_part": "of the modules of pipeline/stages that do a part of a stage",
    "up": "the verb of the command line has the name of what it calls",
    "down": "the verb of the command line has the name of what it calls",
    "status": "the verb of the command line has the name of what it calls",
    "track": "the verb of the command line has the name of what it calls",
    "rollback": "the verb of the command line has the name of what it calls",
}
"""Names of classes and functions that may stand in several modules, and why."""

SHARED_FILES = {
    "__init__.py": "every package has one",
}


def owners(names: dict[Path, set[str]]) -> dict[str, list[str]]:
    """The modules of each name that stands in several."""
    found = defaultdict(list)
    for path, of_module in names.items():
        for name in of_module:
            found[name].append(path.relative_to(PROJECT).as_posix())
    return {name: paths for name, paths in found.items() if len(paths) > 1}


def public_definitions(path: Path) -> set[str]:
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return {node.name for node in body if isinstance(node, kinds) and node.name[0] != "_"}


def test_no_two_modules_define_a_class_or_function_of_the_same_name() -> None:
    twins = owners({path: public_definitions(path) for path in MODULES})

    assert {name: paths for name, paths in twins.items() if name not in SHARED} == {}


def test_no_two_modules_have_the_same_file_name() -> None:
    twins = owners({path: {path.name} for path in MODULES})

    assert {name: paths for name, paths in twins.items() if name not in SHARED_FILES} == {}


def test_what_may_be_shared_is_shared() -> None:
    twins = owners({path: {*public_definitions(path), path.name} for path in MODULES})

    assert (SHARED.keys() | SHARED_FILES.keys()) - twins.keys() == set()
