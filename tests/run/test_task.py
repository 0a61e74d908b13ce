from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.run import task
from pipeline.settings import Settings
from pipeline.workspace.workspace import RunRequest, Workspace


def test_a_stage_keeps_its_checkpoints_in_the_home_and_not_in_its_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    def reproduce(workspace: Workspace, name: str, **options: Any) -> str:
        given.update(options)
        return "cached"

    monkeypatch.setattr(task, "reproduce", reproduce)
    workspace = Workspace(tmp_path / "runs/a", "abc", Path(sys.executable), "1")

    task._stage(Settings(home=tmp_path), RunRequest("a"), workspace, "train")

    monkeypatch.setenv("LUNGSEG_HOME", given["LUNGSEG_HOME"])
    assert Settings().checkpoints == tmp_path / "checkpoints"
