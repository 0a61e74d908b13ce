"""The Python environment that serves a revision: the deployed one, or one made for its uv.lock."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock
from packaging.markers import Marker
from packaging.requirements import Requirement

from pipeline.errors import WorkspaceError
from pipeline.settings import Settings

log = logging.getLogger(__name__)

CODE = Path(__file__).parents[2]
"""Where the deployed code is; with a checkout, its root."""


def find_interpreter(settings: Settings, folder: Path) -> Path:
    """The Python that serves the checkout in `folder`.

    It is this one if it has, in the very versions, what the checkout's uv.lock names for its
    stages; what else is locked or installed, Airflow and its providers say, makes no difference.
    Else it is that of an environment made for it once. Raises WorkspaceError.
    """
    lock = folder / "uv.lock"
    if not lock.exists():
        raise WorkspaceError(f"{lock.name}: not in this revision, so its environment is not known")
    extras = _extras(folder)
    packages = locked_packages(lock, extras)
    if all(installed_version(name) == version for name, version in packages.items()):
        return Path(sys.executable)
    return make_environment(settings, folder, extras, packages)


def _extras(folder: Path) -> list[str]:
    """The project's extras that its stages need on this host; before 0.2 there were none."""
    declared = folder / "pyproject.toml"
    if not declared.is_file():  # uv says so
        return []
    project = tomllib.loads(declared.read_text(encoding="utf-8"))["project"]
    here = {
        "train": True,
        "gpu": has_gpu_libraries(),
        "jax": installed_version("jax") is not None,
        "gpu-jax": installed_version("jax-cuda12-plugin") is not None,
    }
    wanted = [extra for extra, installed in here.items() if installed]
    return [extra for extra in wanted if extra in project.get("optional-dependencies", {})]


def has_gpu_libraries() -> bool:
    """Whether this environment has the CUDA libraries that TensorFlow's extra `and-cuda` names."""
    try:
        declared = [Requirement(text) for text in importlib.metadata.requires("tensorflow") or ()]
    except importlib.metadata.PackageNotFoundError:
        return False
    cuda = [one.name for one in declared if one.marker and _is_of_cuda(one.marker)]
    return bool(cuda) and all(installed_version(name) for name in cuda)


def _is_of_cuda(marker: Marker) -> bool:
    with_extra, without = (marker.evaluate({"extra": extra}) for extra in ("and-cuda", ""))
    return with_extra and not without


def installed_version(name: str) -> str | None:
    """The version of a package in this environment; None when it is not there."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def locked_packages(lock: Path, extras: Sequence[str]) -> dict[str, str]:
    """Name to version of all that a uv.lock names for its project with `extras`, on this platform.

    Raises WorkspaceError for a lock that does not read as one of a single project.
    """
    try:
        packages = tomllib.loads(lock.read_text(encoding="utf-8"))["package"]
        [root] = [one for one in packages if one["source"].keys() & {"editable", "virtual"}]
        return _closure(packages, root, extras)
    except (tomllib.TOMLDecodeError, KeyError, ValueError, StopIteration) as error:
        raise WorkspaceError(
            f"{lock.name}: does not read as uv's lock of one project ({error!r}); run `uv lock`"
        ) from None


def _closure(
    packages: Sequence[Mapping[str, Any]], root: Mapping[str, Any], extras: Sequence[str]
) -> dict[str, str]:
    found: dict[str, str] = {}
    waiting = [(root, ("", *extras))]
    seen: set[tuple[str, str]] = set()
    while waiting:
        package, wanted = waiting.pop()
        for extra in wanted:
            if (package["name"], extra) in seen:
                continue
            seen.add((package["name"], extra))
            edges = package.get("optional-dependencies", {}).get(extra, [])
            for edge in edges if extra else package.get("dependencies", []):
                if "marker" not in edge or Marker(edge["marker"]).evaluate():
                    target = next(one for one in packages if _is_meant(one, edge))
                    waiting.append((target, ("", *edge.get("extra", ()))))
        if package is not root:
            found[package["name"]] = package["version"]
    return found


def _is_meant(package: Mapping[str, Any], edge: Mapping[str, Any]) -> bool:
    """Whether a package is the one that a dependency names."""
    version = edge.get("version", package.get("version"))
    return bool(package["name"] == edge["name"] and package.get("version") == version)


def make_environment(
    settings: Settings, folder: Path, extras: Sequence[str], packages: Mapping[str, str]
) -> Path:
    """Install the locked environment of the checkout `folder`; return its Python.

    It is made once for these packages, and needs no network after that.
    """
    text = json.dumps(sorted(packages.items()))
    target = settings.home / "envs" / hashlib.sha256(text.encode()).hexdigest()[:16]
    python = target / "bin" / "python"
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if python.exists() and (target / "complete").exists():
            (target / "complete").touch()  # its age is when it was asked for last
            return python
        log.info("installing the environment of this revision's uv.lock into %s", target)
        arguments = ["sync", "--frozen", "--no-install-project", "--no-default-groups", "--quiet"]
        arguments += [option for extra in extras for option in ("--extra", extra)]
        environment = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(target)}
        try:
            subprocess.run([find_uv(), *arguments], cwd=folder, env=environment, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise WorkspaceError(f"uv sync for {folder}: {error}") from None
        (target / "complete").touch()
    return python


def find_uv() -> str:
    """The command uv: on PATH, beside this Python, or where `make setup` puts it.

    Raises WorkspaceError when it is nowhere.
    """
    places = [Path(sys.executable).with_name("uv"), CODE / ".tools/uv/bin/uv"]
    found = shutil.which("uv") or next((str(path) for path in places if path.exists()), None)
    if found is None:
        raise WorkspaceError(
            "uv: not found, expected it on PATH to make the environment of another uv.lock; "
            "`pip install uv`"
        )
    return found
