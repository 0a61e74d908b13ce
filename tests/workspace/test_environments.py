from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

from pipeline.errors import WorkspaceError
from pipeline.settings import Settings
from pipeline.workspace import environments
from pipeline.workspace.environments import (
    find_interpreter,
    find_uv,
    has_gpu_libraries,
    installed_version,
    locked_packages,
)
from tests.conftest import PROJECT

HERE = importlib.metadata.version("numpy")
LOCK = """
version = 1
[[package]]
name = "lungseg"
version = "1.0"
source = {{ editable = "." }}
dependencies = [{{ name = "httpx" }}, {{ name = "colorama", marker = "sys_platform == 'win32'" }}]
[package.optional-dependencies]
train = [
    {{ name = "numpy", version = "1.0", marker = "python_full_version < '3'" }},
    {{ name = "numpy", version = "{numpy}", marker = "python_full_version >= '3'" }},
    {{ name = "tensorflow", extra = ["cpu"] }},
]
gpu = [{{ name = "tensorflow", extra = ["and-cuda"] }}]
[package.dev-dependencies]
airflow = [{{ name = "apache-airflow" }}]

[[package]]
name = "httpx"
version = "{httpx}"
source = {{ registry = "r" }}
[[package]]
name = "colorama"
version = "9"
source = {{ registry = "r" }}
[[package]]
name = "numpy"
version = "1.0"
source = {{ registry = "r" }}
[[package]]
name = "numpy"
version = "{numpy}"
source = {{ registry = "r" }}
[[package]]
name = "apache-airflow"
version = "99"
source = {{ registry = "r" }}
[[package]]
name = "nvidia-cudnn"
version = "12"
source = {{ registry = "r" }}
[[package]]
name = "tensorflow"
version = "{tensorflow}"
source = {{ registry = "r" }}
[package.optional-dependencies]
and-cuda = [{{ name = "nvidia-cudnn" }}]
"""
PROJECT_FILE = '[project]\nname = "lungseg"\n[project.optional-dependencies]\n{extras}\n'
UV = """#!/bin/sh
mkdir -p "$UV_PROJECT_ENVIRONMENT/bin"
echo "$@" >> "$UV_PROJECT_ENVIRONMENT/calls"
touch "$UV_PROJECT_ENVIRONMENT/bin/python"
"""


def locked(**versions: str) -> str:
    installed = {name: importlib.metadata.version(name) for name in ("httpx", "tensorflow")}
    return LOCK.format(**{"numpy": HERE, **installed, **versions})


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "uv.lock").write_text(locked())
    (tmp_path / "pyproject.toml").write_text(PROJECT_FILE.format(extras="train = []\ngpu = []"))
    return tmp_path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A command uv on PATH that only makes the folder and keeps how it was called."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "uv").write_text(UV)
    (tools / "uv").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    return tools / "uv"


def calls(python: Path) -> list[str]:
    return (python.parents[1] / "calls").read_text().splitlines()


def test_a_lock_names_what_the_extras_need_on_this_platform(checkout: Path) -> None:
    base = locked_packages(checkout / "uv.lock", [])
    stages = locked_packages(checkout / "uv.lock", ["train"])
    gpu = locked_packages(checkout / "uv.lock", ["train", "gpu"])

    assert base.keys() == {"httpx"}
    assert stages == {**base, "numpy": HERE, "tensorflow": stages["tensorflow"]}
    assert gpu == {**stages, "nvidia-cudnn": "12"}


def test_the_projects_own_lock_is_what_is_installed_here() -> None:
    packages = locked_packages(PROJECT / "uv.lock", ["train"])

    assert len(packages) > 100
    assert [name for name in packages if installed_version(name) != packages[name]] == []
    assert not {"apache-airflow", "pytest"} & packages.keys()


@pytest.mark.parametrize("airflow", ["99", "100"])
def test_what_the_stages_do_not_need_asks_for_no_other_environment(
    airflow: str, checkout: Path, settings: Settings, uv: Path
) -> None:
    (checkout / "uv.lock").write_text(locked().replace('version = "99"', f'version = "{airflow}"'))

    assert find_interpreter(settings, checkout) == Path(sys.executable)
    assert not settings.home.exists()


@pytest.mark.parametrize(
    ("declared", "gpu", "extras"),
    [
        ("", False, ""),
        ("train = []", False, " --extra train"),
        ("train = []", True, " --extra train"),
        ("train = []\ngpu = []", True, " --extra train --extra gpu"),
        ("train = []\njax = []\ngpu-jax = []", False, " --extra train --extra jax"),
    ],
    ids=["before there were extras", "a CPU", "before there was one for GPUs", "a GPU", "JAX"],
)
def test_another_version_gets_an_environment_of_its_own_once(
    declared: str,
    gpu: bool,
    extras: str,
    checkout: Path,
    settings: Settings,
    uv: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(environments, "has_gpu_libraries", lambda: gpu)
    (checkout / "uv.lock").write_text(locked(httpx="0.1"))
    (checkout / "pyproject.toml").write_text(PROJECT_FILE.format(extras=declared))

    first = find_interpreter(settings, checkout)
    uv.unlink()  # and with it all that could reach a network
    second = find_interpreter(settings, checkout)

    assert first == second
    assert first.is_relative_to(settings.home / "envs")
    assert len(calls(first)) == 1
    assert "--frozen --no-install-project --no-default-groups" in calls(first)[0]
    assert calls(first)[0].endswith(f"--quiet{extras}")


def test_environments_are_shared_by_locks_that_mean_the_same(
    checkout: Path, settings: Settings, uv: Path
) -> None:
    pythons = []
    for airflow in ("99", "100"):
        lock = locked(httpx="0.1").replace('version = "99"', f'version = "{airflow}"')
        (checkout / "uv.lock").write_text(lock)
        pythons.append(find_interpreter(settings, checkout))

    assert pythons[0] == pythons[1]
    assert len(calls(pythons[0])) == 1


def test_an_environment_that_cannot_be_installed_is_one_line(
    checkout: Path, settings: Settings, uv: Path
) -> None:
    uv.write_text("#!/bin/sh\nexit 3\n")
    (checkout / "uv.lock").write_text(locked(httpx="0.1"))

    with pytest.raises(WorkspaceError, match="uv sync"):
        find_interpreter(settings, checkout)


@pytest.mark.parametrize("text", ["version = 1\n", "[[package]]\nname = 1\n", "no toml"])
def test_a_lock_that_is_none_is_one_line(text: str, checkout: Path, settings: Settings) -> None:
    (checkout / "uv.lock").write_text(text)

    with pytest.raises(WorkspaceError, match=r"uv.lock: does not read as uv's lock of one project"):
        find_interpreter(settings, checkout)


def test_without_uv_no_environment_can_be_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(environments, "CODE", tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    with pytest.raises(WorkspaceError, match="uv: not found, expected it on PATH"):
        find_uv()


@pytest.mark.parametrize(
    ("requires", "present"),
    [
        (["numpy", 'httpx; extra == "and-cuda"'], True),
        (["numpy", 'nvidia-none; extra == "and-cuda"'], False),
        (["numpy"], False),
        (None, False),
    ],
)
def test_gpu_libraries_are_those_that_tensorflow_names(
    requires: list[str] | None, present: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: requires)

    assert has_gpu_libraries() is present


def test_without_tensorflow_there_are_no_gpu_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", requires)

    assert not has_gpu_libraries()
