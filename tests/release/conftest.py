from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from pipeline.release import champion, gate
from pipeline.settings import Settings
from pipeline.tracking.run_record import RunRecord
from pipeline.workspace.workspace import Workspace
from tests.conftest import PROJECT, git, give_store
from tests.release.runs import LAX, make_run


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Path) -> Settings:
    """Settings of a store and a deployed project of their own, without a server."""
    for name in ("MLFLOW_TRACKING_URI", "LUNGSEG_SIGNING_KEY", "LUNGSEG_TRUSTED_KEYS"):
        monkeypatch.delenv(name, raising=False)
    deployed = tmp_path / "deployed"
    deploy(deployed)
    settings = Settings(repo=str(deployed), home=tmp_path / "home", local=True)
    give_store(settings, store)
    return settings


@pytest.fixture(autouse=True)
def pageless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate without its page, which takes longer than all else; test_comparing.py has it."""
    monkeypatch.setattr(gate, "log_comparison", lambda *_: None)


@pytest.fixture(autouse=True)
def same_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of runs.py has other scores by other masks, where a real one has another network.

    So its masks are taken for those of the run before; test_champion.py has masks drawn anew.
    """
    monkeypatch.setattr(champion, "same_masks", lambda *_: True)


def deploy(folder: Path, **gate: Any) -> None:
    """Commit the project's params.yaml, with these bounds of the gate, as the deployed project."""
    if not folder.exists():
        folder.mkdir()
        git(folder, "init", "--quiet")
    params = yaml.safe_load((PROJECT / "params.yaml").read_text())
    params["gate"] |= LAX | gate
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message=deployed")


@pytest.fixture
def run(settings: Settings, client: MlflowClient, tmp_path: Path) -> tuple[RunRecord, Workspace]:
    return make_run(settings, client, tmp_path / "first")
