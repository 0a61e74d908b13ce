from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.errors import SearchError
from pipeline.search.preset import refuse_place


def test_a_place_that_cannot_be_written_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_place(tmp_path / "new folder/best.yaml")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere

    with pytest.raises(SearchError, match=f"{tmp_path} cannot be written to, expected a place"):
        refuse_place(tmp_path / "new folder/best.yaml")
