from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from pipeline.errors import ServiceError
from pipeline.services import control, gpu_cards, local
from pipeline.services.daemon import Daemon, end
from pipeline.services.gpu_cards import listed_cards
from pipeline.services.local import Service, read_variables
from pipeline.settings import Settings
from tests.conftest import free_port, mode_of

SERVE = "import time; time.sleep(60)"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in ("MLFLOW_TRACKING_URI", "LUNGSEG_AIRFLOW_URL", "LUNGSEG_REPO"):
        monkeypatch.delenv(name, raising=False)
    return Settings(home=tmp_path / "home", mlflow_port=free_port(), airflow_port=free_port())


def stand_in(settings: Settings, code: str = SERVE, port: int = 0) -> Service:
    daemon = Daemon("stand-in", settings.home, (sys.executable, "-c", code))
    return Service("Stand-in", daemon, lambda _: True, port=port, setting="LUNGSEG_STAND_IN_PORT")


def replace_services(monkeypatch: pytest.MonkeyPatch, *stand_ins: Service) -> None:
    monkeypatch.setattr(control, "services", lambda _: list(stand_ins))


def test_second_up_reuses_what_runs_and_down_ends_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    replace_services(monkeypatch, stand_in(settings))
    caplog.set_level(logging.INFO)

    first, second = control.up(settings), control.up(settings)

    assert [row.state for row in first] == ["running"]
    assert first == second
    assert "everything runs already" in caplog.text
    assert control.down(settings) == 1
    assert [row.state for row in control.status(settings)] == ["stopped"]
    assert control.down(settings) == 0
    assert "nothing runs" in caplog.text


def test_two_ups_at_the_same_moment_start_one_service(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_services(monkeypatch, stand_in(settings))
    pids: list[int | None] = []

    def up() -> None:
        pids.append(control.up(settings)[0].pid)

    threads = [threading.Thread(target=up) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)

    assert len(pids) == 2
    assert len(set(pids)) == 1
    control.down(settings)


def test_home_that_the_lock_makes_is_closed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_services(monkeypatch, stand_in(settings))

    control.down(settings)

    assert mode_of(settings.home) == 0o700


def test_lock_that_is_never_given_back_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_services(monkeypatch, stand_in(settings))
    monkeypatch.setattr(control, "PATIENCE", 0.1)

    with control._lock(settings), pytest.raises(ServiceError, match=r"services\.lock"):
        control.up(settings)


def test_taken_port_is_refused_with_its_holder_and_the_setting_to_change(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        replace_services(monkeypatch, stand_in(settings, port=port))

        with pytest.raises(ServiceError, match=f"{port}.*{os.getpid()}.*LUNGSEG_STAND_IN_PORT"):
            control.up(settings)

    assert [row.state for row in control.status(settings)] == ["stopped"]


def test_service_that_runs_with_other_settings_is_not_reused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_services(monkeypatch, stand_in(settings))
    control.up(settings)
    replace_services(monkeypatch, stand_in(settings, code=f"{SERVE} # other"))

    with pytest.raises(ServiceError, match=r"other settings.*lungseg down"):
        control.up(settings)

    control.down(settings)


def test_death_while_starting_is_told_with_the_telling_line_and_the_log(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = stand_in(settings, code="raise SystemExit('Error: disk is full')")
    dying = Service("Stand-in", dying.daemon, lambda _: False)
    replace_services(monkeypatch, dying)

    with pytest.raises(ServiceError, match=r"exit code 1\): Error: disk is full.*stand-in\.log"):
        control.up(settings)


def test_failed_start_leaves_none_of_its_services(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = Daemon("silent", settings.home, (sys.executable, "-c", SERVE))
    replace_services(monkeypatch, stand_in(settings), Service("Silent", daemon, lambda _: False))
    monkeypatch.setattr(control, "PATIENCE", 0.5)

    with pytest.raises(ServiceError, match=r"Silent does not answer.*silent\.log"):
        control.up(settings)

    assert [row.state for row in control.status(settings)] == ["stopped", "stopped"]


def test_service_that_no_task_needs_is_started_without_waiting_for_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = Daemon("airflow-extra", settings.home, (sys.executable, "-c", SERVE))
    replace_services(monkeypatch, Service("Extra", daemon, lambda _: False, needed=False))
    monkeypatch.setattr(control.airflow_home, "prepare", lambda *_: None)
    monkeypatch.setattr(control, "_make_pools", lambda _: None)

    assert [row.state for row in control.up(settings)] == ["starting"]

    control.down(settings)


def test_pools_are_made_also_where_airflow_runs_already(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    airflow = SimpleNamespace(ensure_pool=lambda name, slots, text: made.append(f"{name} {slots}"))
    daemon = Daemon("airflow-server", settings.home, (sys.executable, "-c", SERVE))
    replace_services(monkeypatch, Service("Airflow", daemon, lambda _: True))
    monkeypatch.setattr(control.airflow_home, "prepare", lambda *_: None)
    monkeypatch.setattr(control, "log_in", lambda _: nullcontext(airflow))
    monkeypatch.setattr(control, "listed_cards", lambda: 2)

    control.up(settings)
    control.up(settings)

    assert made == ["gpu 2", "release 1"] * 2
    control.down(settings)


def test_service_that_runs_but_does_not_answer_is_shown_so(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = stand_in(settings).daemon
    process = daemon.start(os.environ)
    replace_services(monkeypatch, Service("Stand-in", daemon, lambda _: False))

    assert [row.state for row in control.status(settings)] == ["starting"]
    monkeypatch.setattr(control, "PATIENCE", 0)
    assert [row.state for row in control.status(settings)] == ["not answering"]

    end([process], patience=5)


def test_address_elsewhere_is_shown_and_not_started_here(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ci:secret@mlflow.example.org")

    rows = {row.service: row for row in control.status(settings)}

    assert rows["MLflow"].state == "elsewhere"
    assert rows["MLflow"].url == "https://mlflow.example.org"
    assert rows["Airflow"].state == "stopped"


def test_services_see_where_everything_is_and_no_foreign_airflow(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "sqlite:////elsewhere.db")

    variables = local.environment(settings)

    assert variables["LUNGSEG_HOME"] == str(settings.home)
    assert variables["LUNGSEG_REPO"] == str(Path.cwd())
    assert variables["MLFLOW_TRACKING_URI"] == f"http://127.0.0.1:{settings.mlflow_port}"
    assert variables["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert not [name for name in variables if name.startswith("AIRFLOW__")]


def test_mlflow_listens_on_loopback_only_and_serves_its_artifacts(settings: Settings) -> None:
    mlflow = local.services(settings)[0]

    command = " ".join(mlflow.daemon.command)
    assert f"--host 127.0.0.1 --port {settings.mlflow_port}" in command
    assert f"--artifacts-destination {settings.home}/mlflow/artifacts" in command


def test_health_of_a_silent_server_is_bad(settings: Settings) -> None:
    process = psutil.Process()

    assert [service.healthy(process) for service in local.services(settings)] == [False] * 5


def test_environment_file_is_read_without_its_comments(tmp_path: Path) -> None:
    (tmp_path / "x.env").write_text("# why\n\nA=1\n B = two = 2 \n")

    assert read_variables(tmp_path / "x.env") == {"A": "1", "B": "two = 2"}


def test_gpus_are_those_that_the_driver_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert listed_cards() == 0

    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: A'\necho 'GPU 1: B'\n")
    program.chmod(0o755)
    assert listed_cards() == 2


@pytest.mark.parametrize("text", ["#!/bin/sh\nexec /bin/sleep 30\n", "#!/nowhere\n"])
def test_a_driver_that_does_not_answer_lists_no_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gpu_cards, "PATIENCE_S", 0.1)
    program = tmp_path / "nvidia-smi"
    program.write_text(text)
    program.chmod(0o755)

    assert listed_cards() == 0

    assert "the driver does not list its GPUs, so none count: " in caplog.text
