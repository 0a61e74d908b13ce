"""docker/Dockerfile and what gets into an image."""

from __future__ import annotations

import fnmatch
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.model.engine import EXTRAS, GPU_EXTRAS
from tests.conftest import PROJECT

DOCKERFILES = ("docker/Dockerfile", "docker/smoke/Dockerfile")
TARGETS = ("airflow", "worker", "worker-gpu", "mlflow")


def complaints(path: Path) -> str:
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([program, path], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", DOCKERFILES)
def test_hadolint_has_no_complaint(name: str) -> None:
    assert complaints(PROJECT / name) == ""


def test_hadolint_complains_of_a_planted_fault(tmp_path: Path) -> None:
    text = (PROJECT / DOCKERFILES[0]).read_text()
    (tmp_path / "Dockerfile").write_text(text + "RUN cd /tmp && sudo ls\n")

    assert "DL3004" in complaints(tmp_path / "Dockerfile")


def stages(text: str) -> dict[str, tuple[str, str]]:
    """Each stage's base and text, by name."""
    parts = re.split(r"^FROM (\S+) AS (\S+)$", text, flags=re.MULTILINE)[1:]
    return {name: (base, body) for base, name, body in zip(*[iter(parts)] * 3, strict=True)}


def root_targets(text: str) -> list[str]:
    """Targets whose last user is root, or has no number, which Kubernetes asks for."""
    found = []
    for target in TARGETS:
        users = re.findall(r"^USER (\S+)$", stages(text)[target][1], re.MULTILINE)
        if not users or not re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]):
            found.append(target)
    return found


def test_every_image_runs_as_a_numbered_user() -> None:
    text = (PROJECT / DOCKERFILES[0]).read_text()

    assert root_targets(text) == []
    assert root_targets(text.replace("USER 10001:10001", "USER root", 1)) == ["airflow"]


def unlocked_packages(text: str) -> list[str]:
    """Installations that uv.lock does not decide; uv itself comes by its version."""
    lines = [
        line.strip()
        for line in text.splitlines()
        if re.search(r"uv (sync|pip|add)|pip install", line)
    ]
    locked = re.compile(r"uv sync --frozen|pip install .* \"uv==\$\{UV_VERSION\}\"")
    return [line for line in lines if not locked.search(line)]


def test_packages_come_from_the_lock() -> None:
    text = (PROJECT / DOCKERFILES[0]).read_text()

    assert unlocked_packages(text) == []
    assert unlocked_packages(text.replace("uv sync --frozen", "uv sync", 1))


@pytest.mark.parametrize(
    ("stage", "extras"), [("worker-packages", EXTRAS), ("worker-gpu-packages", GPU_EXTRAS)]
)
def test_the_images_that_train_have_both_engines(stage: str, extras: dict[str, str]) -> None:
    _, body = stages((PROJECT / DOCKERFILES[0]).read_text())[stage]
    named = set(re.findall(r"--extra (\S+)", body))

    # The extra of TensorFlow on CPUs is a part of the one of JAX.
    assert named == set(extras.values()) - {"train"}


def test_the_image_gets_the_uv_that_the_makefile_installs() -> None:
    makefile, dockerfile = ((PROJECT / name).read_text() for name in ("Makefile", DOCKERFILES[0]))
    version = re.search(r"^UV_VERSION = (\S+)$", makefile, re.MULTILINE)

    assert version
    assert f"ARG UV_VERSION={version[1]}\n" in dockerfile


def allowed(path: str, rules: list[str]) -> bool:
    """Whether the path gets into a build context: the last rule that matches it decides."""
    inside = True
    parts = [path.rsplit("/", n)[0] for n in range(path.count("/") + 1)]  # it and its folders
    for rule in rules:
        pattern = rule.removeprefix("!").removeprefix("**/")
        names = [part.rpartition("/")[2] for part in parts] if "**/" in rule else parts
        if any(fnmatch.fnmatchcase(name, pattern) for name in names):
            inside = rule.startswith("!")
    return inside


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("pipeline/settings.py", True),
        ("dags/retrain.py", True),
        ("uv.lock", True),
        ("data/COVID/images/a.png", False),
        ("data", False),
        (".git/config", False),
        (".lungseg/keys/release.pem", False),
        (".dvc/cache/files/md5/00/11", False),
        (".venv/bin/python", False),
        ("artifacts/report/index.html", False),
        ("samples/files/md5/00/11", False),
        ("docker/secrets/jwt_secret", False),
        ("docker/.env", False),
        ("pipeline/__pycache__/settings.pyc", False),
    ],
)
def test_no_radiograph_history_or_secret_gets_into_a_build(path: str, inside: bool) -> None:
    lines = (PROJECT / ".dockerignore").read_text().splitlines()

    assert allowed(path, [line for line in lines if line and line[0] != "#"]) == inside
