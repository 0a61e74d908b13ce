from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from pipeline.services import airflow_home, local
from pipeline.services.airflow_settings import EVERYWHERE, SEVERAL_HOSTS, as_environment
from pipeline.services.roles import AIRFLOW, MLFLOW, ROLES, WORKERS
from pipeline.settings import Settings
from tests.conftest import free_port

DAY = 86400


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in ("MLFLOW_TRACKING_URI", "LUNGSEG_AIRFLOW_URL", "LUNGSEG_REPO"):
        monkeypatch.delenv(name, raising=False)
    return Settings(home=tmp_path / "home", mlflow_port=free_port(), airflow_port=free_port())


def test_up_starts_what_the_table_says_with_its_own_host_and_ports(settings: Settings) -> None:
    ports = {"mlflow": settings.mlflow_port, "airflow-server": settings.airflow_port}

    for role, service in zip((MLFLOW, *AIRFLOW), local.services(settings), strict=True):
        program, *options = role.command_line("127.0.0.1", ports.get(role.name, 0))
        command = service.daemon.command
        assert (service.title, service.daemon.name) == (role.title, role.name)
        assert Path(command[0]).name == program
        assert list(command[1 : len(options) + 1]) == options
        assert service.port == ports.get(role.name, 0)


def test_every_role_has_a_name_of_its_own_and_what_it_needs_once() -> None:
    assert len({role.name for role in ROLES}) == len(ROLES)
    assert [role.name for role in ROLES if len(set(role.environment)) < len(role.environment)] == []


def test_workers_need_neither_the_database_nor_the_key_that_signs_tokens() -> None:
    for role in WORKERS:
        assert "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN" not in role.environment
        assert "AIRFLOW__API_AUTH__JWT_SECRET" not in role.environment
        assert "--daemon" not in role.command


def test_process_that_is_asked_by_a_command_is_none_of_this_host() -> None:
    with pytest.raises(AssertionError, match="worker-cpu"):
        local._health(WORKERS[0], "http://127.0.0.1:1")


def test_configuration_of_the_local_airflow_holds_what_every_deployment_shares(
    settings: Settings,
) -> None:
    airflow_home._configure(settings)
    written = configparser.RawConfigParser()
    written.read(settings.home / "airflow" / "airflow.cfg")

    for section, keys in EVERYWHERE.items():
        assert {key: written.get(section, key) for key in keys} == keys
    assert written.get("core", "executor") == "LocalExecutor"


def test_settings_as_environment_have_the_names_that_airflow_reads() -> None:
    variables = as_environment(EVERYWHERE, SEVERAL_HOSTS)

    assert variables["AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT"] == "35"
    assert variables["AIRFLOW__CORE__EXECUTOR"] == "CeleryExecutor"
    timeout = variables["AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT"]
    assert int(timeout) >= 14 * DAY
