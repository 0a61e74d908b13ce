from __future__ import annotations

import signal
from pathlib import Path

import pytest

from pipeline.errors import CrashedError, StageError
from pipeline.model import export_process
from pipeline.model.export_process import export_saved
from pipeline.params import Params
from tests.model import told_networks
from tests.model.test_export import CHANGES, build


@pytest.mark.slow
def test_a_process_of_its_own_exports_the_bytes_of_this_one(params: Params, tmp_path: Path) -> None:
    from pipeline.model.export import export_network
    from pipeline.model.keras_file import save_network

    network = build(params, CHANGES[0])
    save_network(network, tmp_path / "model.keras")

    export_saved(tmp_path / "model.keras", tmp_path / "model.onnx", ["standard"])

    export_network(network, tmp_path / "here.onnx")
    assert (tmp_path / "model.onnx").read_bytes() == (tmp_path / "here.onnx").read_bytes()


@pytest.mark.slow
def test_the_process_is_told_the_conventions(params: Params, tmp_path: Path) -> None:
    network = told_networks.build(params, 3, deep_supervision=True)
    folder = told_networks.write_network(network, tmp_path / "here", told_networks.NAMES)

    export_saved(folder / "model.keras", tmp_path / "model.onnx", told_networks.NAMES)

    assert (tmp_path / "model.onnx").read_bytes() == (folder / "model.onnx").read_bytes()


def test_an_export_that_fails_says_why_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(b"no network")

    with pytest.raises(StageError, match=r"cannot be exported \(.*not a network of the stage"):
        export_saved(tmp_path / "model.keras", tmp_path / "model.onnx", ["standard"])


def test_an_export_that_is_killed_is_worth_a_retry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nkill -9 $$\n")
    program.chmod(0o755)
    monkeypatch.setattr(export_process.sys, "executable", str(program))

    with pytest.raises(CrashedError, match=f"killed by signal {int(signal.SIGKILL)}"):
        export_saved(tmp_path / "model.keras", tmp_path / "model.onnx", ["standard"])
