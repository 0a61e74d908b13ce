"""Fetching a released model from a real MLflow server, without MLflow's client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import mlflow
import numpy as np
import pytest
from PIL import Image

from pipeline.errors import ReleaseError
from pipeline.release.registry import fetch_release
from pipeline.settings import Settings
from pipeline.tracking.client import connect
from pipeline.tracking.rest import MlflowServer
from tests.needed import distributions, installed_with, needed_by
from tests.release.conftest import deploy
from tests.release.runs import NETWORK, make_run, release
from tests.release.test_released_model import OLD_LUNG, RADIOGRAPH
from tests.test_main_job import free_port

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """An MLflow server with a released champion."""
    home = tmp_path_factory.mktemp("server")
    port = free_port()
    arguments = ["--backend-store-uri", f"sqlite:///{home}/mlflow.db", "--port", str(port)]
    arguments += ["--artifacts-destination", str(home / "artifacts"), "--workers", "1"]
    program = Path(sys.executable).with_name("mlflow")
    with subprocess.Popen([program, "server", *arguments], cwd=home) as process:
        try:
            deploy(home / "deployed")
            settings = Settings(repo=str(home / "deployed"), home=home / "home", mlflow_port=port)
            wait_for(f"{settings.tracking_uri}/health")
            with pytest.MonkeyPatch.context() as patch:  # MLflow keeps its address there
                patch.setenv("MLFLOW_TRACKING_URI", settings.tracking_uri)
                with connect(settings) as client:
                    release(make_run(settings, client, home / "run", model=NETWORK))
            mlflow.set_tracking_uri(None)
            yield settings
        finally:
            process.terminate()


def wait_for(url: str) -> None:
    for _ in range(300):
        try:
            if httpx.get(url).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise TimeoutError(url)


def lungseg(server: Settings, folder: Path, *arguments: str) -> list[str]:
    """Run `lungseg` in a process of its own; the modules that it imported."""
    program = (
        "import atexit, json, sys\n"
        "atexit.register(lambda: print(json.dumps(sorted(sys.modules))))\n"
        f"sys.argv = ['lungseg', *{arguments!r}]\n"
        "from pipeline.cli.app import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={
            **os.environ,
            "MLFLOW_TRACKING_URI": server.tracking_uri,
            "LUNGSEG_HOME": str(server.home),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    modules: list[str] = json.loads(done.stdout.splitlines()[-1])
    return modules


def test_predict_needs_neither_mlflows_client_nor_the_extra_train(
    server: Settings, tmp_path: Path
) -> None:
    Image.fromarray(RADIOGRAPH).save(tmp_path / "radiograph.png")

    modules = lungseg(server, tmp_path, "predict", "radiograph.png", "--out", "out")

    mask = np.asarray(Image.open(tmp_path / "out/radiograph.png"))
    np.testing.assert_array_equal(mask, 255 * (OLD_LUNG >= 0.5))
    assert {"mlflow", "pandas", "tensorflow", "keras", "pydicom"} & set(modules) == set()
    assert {"cv2", "numpy", "httpx"} < needed_by(modules)
    assert distributions(needed_by(modules)) - installed_with("lungseg") == set()


@pytest.mark.parametrize("arguments", [(), ("verify",), ("key",)])
def test_the_releases_are_shown_and_verified_without_the_extra_train(
    server: Settings, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    modules = lungseg(server, tmp_path, "releases", *arguments)

    assert {"tensorflow", "keras", "dvc"} & set(modules) == set()
    assert "cryptography" in needed_by(modules)
    assert distributions(needed_by(modules)) - installed_with("lungseg") == set()


def test_a_version_is_fetched_by_alias_and_by_number(server: Settings, tmp_path: Path) -> None:
    (tmp_path / "number").mkdir()

    with MlflowServer(server.tracking_uri) as api:
        by_alias = api.fetch_model(server.model_name, "champion", None, tmp_path)
        by_number = api.fetch_model(server.model_name, None, "1", tmp_path / "number")
        assert api.fetch_model(server.model_name, None, "2", tmp_path) is None
        assert api.fetch_model("another", "champion", None, tmp_path) is None

    assert by_alias
    assert by_number
    assert by_alias[:2] == by_number[:2]
    assert by_alias[0] == "1"


def test_what_the_server_does_not_have_is_one_line(server: Settings, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="nothing released under it; see `lungseg releases`"):
        fetch_release(server, f"models:/{server.model_name}/7", tmp_path)


@pytest.mark.parametrize("path", ["../../evil.py", "/etc/evil"])
def test_a_path_out_of_the_models_folder_is_refused(
    server: Settings, tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MlflowServer, "_files", lambda *_: [path])

    with (
        MlflowServer(server.tracking_uri) as api,
        pytest.raises(ReleaseError, match="expected paths inside of its folder"),
    ):
        api.fetch_model(server.model_name, "champion", None, tmp_path / "deep/folder")
    assert list(tmp_path.rglob("evil*")) == []


@pytest.mark.parametrize(("name", "silence"), [("_download", False), ("_files", None)])
def test_a_server_that_hands_out_no_files_leaves_it_to_mlflows_client(
    server: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, silence: object
) -> None:
    monkeypatch.setattr(MlflowServer, name, lambda *_: silence)

    found = fetch_release(server, f"models:/{server.model_name}@champion", tmp_path)

    assert found.model.whole
    assert found.threshold == 0.5
