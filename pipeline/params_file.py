"""params.yaml and its like: read, checked, changed by assignments."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pipeline.errors import ParamsError
from pipeline.files import atomic_path
from pipeline.params import Params


class _Dumper(yaml.SafeDumper):
    """YAML as `_Loader` reads it: a text that it would take for a number is quoted."""


class _Loader(yaml.CSafeLoader):  # ten times as fast as the one in Python
    """YAML as DVC reads it too: 1e-3 is a number and a key may stand only once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"key {key!r} stands twice; remove one")
        return super().construct_mapping(node, deep)


for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"),
        list("-+0123456789"),
    )


def _parse(text: str) -> Any:
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def load_params(path: Path) -> Params:
    """Read and check params.yaml; raises ParamsError naming every offending key."""
    return check_params(read_yaml(path), path)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file whose top level is a mapping; raises ParamsError otherwise."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ParamsError(f"{path}: no such file; run from the project's root") from None
    except IsADirectoryError:
        raise ParamsError(f"{path}: found a folder, expected a YAML file; name one") from None
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path}: not readable as YAML: {error}") from None
    return parse_yaml(text, path)


def parse_yaml(text: str, path: Path) -> dict[str, Any]:
    """The mapping that the text of `path` holds; raises ParamsError when it holds none."""
    try:
        content = _parse(text)
    except (yaml.YAMLError, ValueError) as error:
        detail = " ".join(str(error).split())
        raise ParamsError(f"{path}: not readable as YAML: {detail}") from None
    if not isinstance(content, dict):
        raise ParamsError(f"{path}: found {type(content).__name__}, expected sections of keys")
    return content


def check_params(content: Mapping[str, Any], path: Path) -> Params:
    """The typed form of `content`, which came from `path`."""
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise ParamsError(f"{path}: {problems(error)}") from None


def problems(error: ValidationError, hidden: Collection[str] = ()) -> str:
    """One line on every offending key, leaving out the `hidden` parts of its address."""
    return "; ".join(_problem(one, hidden) for one in error.errors())


def _problem(error: Any, hidden: Collection[str]) -> str:
    key = ".".join(str(part) for part in error["loc"] if part not in hidden)
    if error["type"] == "extra_forbidden":
        return f"{key}: unknown key, remove it or correct its name"
    if error["type"] == "missing":
        return f"{key}: missing, add it"
    message = error["msg"].removeprefix("Value error, ")
    message = f"{message[0].lower()}{message[1:]}"
    if not error["loc"]:  # of several sections: it names them
        return str(message)
    # What keys of a section may not be together names them; the rest of the section says nothing.
    whole = len(error["loc"]) == 1 and error["type"] == "value_error"
    return f"{key}: {message}" if whole else f"{key}: found {error['input']!r}; {message}"


def flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as one level of dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        name = f"{prefix}{key}"
        flat.update(flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value})
    return flat


def read_assignments(path: Path) -> tuple[str, ...]:
    """Return a YAML file of some of the parameters as `section.key=value` assignments.

    Raises ParamsError, also for a value that no parameter can have.
    """
    flat = flatten(read_yaml(path))
    try:
        return tuple(f"{key}={json.dumps(value)}" for key, value in flat.items())
    except TypeError:  # YAML also has dates
        dates = ", ".join(key for key, value in flat.items() if isinstance(value, date))
        raise ParamsError(
            f"{path}: {dates}: found a date, expected a number or a text; quote it"
        ) from None


def as_sections(assignments: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The reverse of `read_assignments`: sections of keys, the last of two assignments counting."""
    content: dict[str, dict[str, Any]] = {}
    for assignment in assignments:
        section, key, value = _split(assignment)
        content.setdefault(section, {})[key] = value
    return content


def check_override(path: Path, assignments: Iterable[str]) -> dict[str, Any]:
    """Return the content of `path` with assignments applied.

    Raises ParamsError for a key that the file lacks, and for all that is wrong through them. What
    else is not of this version belongs to an older revision, whose stages check it by their code.
    """
    content = read_yaml(path)
    before = _problems(content)
    for assignment in assignments:
        _assign(content, assignment)
    if new := [problem for problem in _problems(content) if problem not in before]:
        raise ParamsError(f"{path}: {'; '.join(new)}")
    return content


def _problems(content: Mapping[str, Any]) -> list[str]:
    try:
        Params.model_validate(content)
    except ValidationError as error:
        return [_problem(one, ()) for one in error.errors()]
    return []


def override(path: Path, assignments: Iterable[str]) -> None:
    """Set `section.key=value` assignments in the file `path`, which stays as it was on error.

    Values are read as YAML (`train.filters=[8,16]`). Raises ParamsError.
    """
    text = yaml.dump(
        check_override(path, assignments),
        Dumper=_Dumper,
        sort_keys=False,
        default_flow_style=None,
    )
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _assign(content: dict[str, Any], assignment: str) -> None:
    section, key, value = _split(assignment)
    if not isinstance(content.get(section), dict) or key not in content[section]:
        raise ParamsError(f"override {assignment!r}: params.yaml has no key {section}.{key}")
    content[section][key] = value


def _split(assignment: str) -> tuple[str, str, Any]:
    """Section, key and value of an assignment."""
    name, equals, text = assignment.partition("=")
    section, dot, key = name.strip().partition(".")
    if not (equals and dot and key):
        raise ParamsError(f"override {assignment!r}: expected section.key=value")
    try:
        return section, key, _parse(text)
    except (yaml.YAMLError, ValueError):  # ValueError: a date that no calendar has
        raise ParamsError(f"override {assignment!r}: {text!r} is not a YAML value") from None
