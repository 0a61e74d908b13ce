from __future__ import annotations

from collections import namedtuple
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline.deployment import host_links
from pipeline.deployment.host_links import look_at_clock, look_at_disk, look_at_gpu, look_at_uv
from pipeline.deployment.links import NotLookedAt, Site
from pipeline.errors import DeploymentError, WorkspaceError
from pipeline.settings import Settings
from pipeline.workspace import environments
from tests.conftest import small_disk
from tests.servers import http_server, make_certificate

Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize("minutes", [10, -10])
def test_clock_that_is_ten_minutes_off_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    with http_server(ahead=timedelta(minutes=minutes)) as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)

        way = "behind" if minutes > 0 else "ahead of"
        with pytest.raises(DeploymentError, match=rf"clock is (599|600|601) s {way} {url}.*chrony"):
            look_at_clock(Site(settings))


def test_clock_is_compared_with_every_server_also_an_untrusted_one(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with http_server() as mlflow, http_server(certificate=make_certificate(tmp_path)) as s3:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.replace("//", "//ci:secret@"))
        monkeypatch.setenv("LUNGSEG_REMOTE", "s3://bucket")
        monkeypatch.setenv("LUNGSEG_REMOTE_ENDPOINT", s3)
        monkeypatch.setenv("LUNGSEG_AIRFLOW_URL", "http://127.0.0.1:9")

        assert look_at_clock(Site(settings)).endswith(f" s of {mlflow}, {s3}")


def test_clock_without_a_server_is_not_looked_at(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUNGSEG_AIRFLOW_URL", "http://127.0.0.1:9")

    with pytest.raises(NotLookedAt, match="no server answers"):
        look_at_clock(Site(settings))


def test_full_disk_is_named(settings: Settings, tmp_path: Path) -> None:
    with small_disk(tmp_path, "1m") as small:
        (small / "ballast").write_bytes(bytes(900_000))

        with pytest.raises(DeploymentError, match=rf"{small}: cannot be written \(No space left"):
            look_at_disk(Site(replace(settings, home=small)))


def test_disk_that_is_nearly_full_is_named(settings: Settings, tmp_path: Path) -> None:
    with (
        small_disk(tmp_path, "20m") as small,
        pytest.raises(DeploymentError, match=r"0\.0 GiB free, expected 5 or more; `lungseg clean`"),
    ):
        look_at_disk(Site(replace(settings, home=small)))


def test_disk_with_room_is_told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_links.shutil, "disk_usage", lambda _: Usage(2**40, 0, 2**40))

    assert "1024 GiB free" in look_at_disk(Site(settings))


def test_gpu_is_not_looked_at_where_there_is_none_and_none_is_needed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(NotLookedAt, match="lists no GPU here"):
        look_at_gpu(Site(settings))


def answer_of_the_engine(monkeypatch: pytest.MonkeyPatch, program: str, cards: int) -> None:
    monkeypatch.setattr(host_links, "DEVICES", program)
    monkeypatch.setattr(host_links, "listed_cards", lambda: cards)


@pytest.mark.parametrize(
    ("program", "cards", "said"),
    [
        ("print('tensorflow 0')", 2, "nvidia-smi lists 2 GPUs, and tensorflow sees none"),
        ("print('tensorflow 0')", 0, "no GPU: nvidia-smi lists none; install the driver"),
        ("raise SystemExit('no cuDNN')", 1, "cannot be asked for their GPUs: no cuDNN"),
    ],
)
def test_gpu_that_a_training_would_not_use_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, program: str, cards: int, said: str
) -> None:
    answer_of_the_engine(monkeypatch, program, cards)

    with pytest.raises(DeploymentError, match=said):
        look_at_gpu(Site(settings, "gpu"))


def test_gpus_that_the_engine_sees_are_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_of_the_engine(monkeypatch, "print('tensorflow 0\\njax 2')", 2)

    assert look_at_gpu(Site(settings, "gpu")) == "tensorflow sees 0 GPUs, jax sees 2 GPUs"


def test_engines_that_wait_for_the_driver_for_ever_are_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_of_the_engine(monkeypatch, "import time; time.sleep(30)", 1)
    monkeypatch.setattr(host_links, "ENGINE_PATIENCE_S", 0.1)

    with pytest.raises(DeploymentError, match=r"no answer about their GPUs in 0.1 s; look at"):
        look_at_gpu(Site(settings, "gpu"))


@pytest.mark.slow  # imports the engine
def test_engine_is_really_asked(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(host_links, "listed_cards", lambda: 1)

    with pytest.raises(DeploymentError, match="lists 1 GPUs, and tensorflow and jax sees none"):
        look_at_gpu(Site(settings, "gpu"))


def test_missing_uv_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    monkeypatch.setattr(environments, "CODE", tmp_path)
    with pytest.raises(WorkspaceError, match="uv: not found"):
        look_at_uv(Site(settings))

    (tmp_path / "uv").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "uv").chmod(0o755)
    with pytest.raises(DeploymentError, match="install uv again"):
        look_at_uv(Site(settings))

    (tmp_path / "uv").write_text("#!/bin/sh\necho uv 1.2.3\n")
    assert look_at_uv(Site(settings)) == f"uv 1.2.3 at {tmp_path}/uv"
