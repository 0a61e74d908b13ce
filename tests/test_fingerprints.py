from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.errors import ParamsError
from pipeline.fingerprints import code_files, code_sha256
from tests.conftest import PROJECT

GRAPH = """stages:
  shout: {cmd: shout, deps: [words, pipeline/room, pipeline/shout.py]}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pipeline/room").mkdir(parents=True)
    (tmp_path / "pipeline/room/part.py").write_text("A = 1\n")
    (tmp_path / "pipeline/shout.py").write_text("B = 1\n")
    (tmp_path / "pipeline/other.py").write_text("C = 1\n")
    (tmp_path / "dvc.yaml").write_text(GRAPH)
    return tmp_path


def test_the_code_of_a_stage_is_what_dvc_yaml_lists_of_the_package(project: Path) -> None:
    assert list(code_files("shout", project)) == ["pipeline/room/part.py", "pipeline/shout.py"]


def test_a_stage_that_dvc_yaml_does_not_have_is_named(project: Path) -> None:
    with pytest.raises(ParamsError, match=r"'whisper': not in dvc\.yaml, expected one of shout"):
        code_files("whisper", project)


def test_the_hash_of_the_code_changes_with_content_and_with_name(project: Path) -> None:
    before = code_sha256("shout", project)

    (project / "pipeline/room/part.py").write_text("A = 2\n")
    edited = code_sha256("shout", project)
    (project / "pipeline/room/part.py").rename(project / "pipeline/room/renamed.py")

    assert len({before, edited, code_sha256("shout", project)}) == 3


def test_the_hash_of_the_code_ignores_what_the_stage_does_not_run(project: Path) -> None:
    before = code_sha256("shout", project)

    (project / "pipeline/other.py").write_text("C = 2\n")
    (project / "words").write_text("loud")
    (project / "pipeline/room/__pycache__").mkdir()
    (project / "pipeline/room/__pycache__/part.pyc").write_bytes(b"compiled")

    assert code_sha256("shout", project) == before


def test_the_hash_of_the_code_is_that_of_an_equal_project_elsewhere(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = shutil.copytree(project, tmp_path_factory.mktemp("elsewhere") / "project")

    assert code_sha256("shout", other) == code_sha256("shout", project)


def test_the_code_is_of_this_project_by_default() -> None:
    assert code_sha256("report") == code_sha256("report", PROJECT)
