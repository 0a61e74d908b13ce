from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.dags.reading import Reader

DAGS = Path(__file__).parents[2] / "dags"


@pytest.fixture(scope="session")
def read_dags(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    reader = Reader(tmp_path_factory.mktemp("reader"))
    yield reader
    reader.close()


@pytest.fixture(scope="session")
def operator_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """dags/lungseg_operator.py, imported with an AIRFLOW_HOME of its own."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Airflow's own imports warn
        patch.setenv("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))
        patch.syspath_prepend(DAGS)
        import lungseg_operator
        from airflow.sdk.bases.operator import ExecutorSafeguard

        patch.setattr(ExecutorSafeguard, "test_mode", True)
        yield lungseg_operator
        for name in [name for name in sys.modules if name.startswith("lungseg_")]:
            sys.modules.pop(name, None)


@pytest.fixture(scope="session")
def release_module(operator_module: ModuleType) -> Iterator[ModuleType]:
    """dags/release_operators.py."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import release_operators
    yield release_operators
    sys.modules.pop("release_operators", None)


@pytest.fixture
def lungseg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Replace the command `lungseg` by a shell script."""

    def write(script: str) -> None:
        path = tmp_path / "lungseg"
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        monkeypatch.setenv("LUNGSEG_BIN", str(path))

    return write
