from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.settings import Settings
from tests.conftest import give_store


@pytest.fixture
def settings(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    settings = Settings(home=tmp_path / "home", local=True)
    give_store(settings, store)
    return settings
