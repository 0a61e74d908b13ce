from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import ParamsError
from pipeline.settings import (
    LIBRARIES,
    SECRETS,
    Settings,
    make_home,
    private_home,
    read_secret_files,
)
from tests.conftest import mode_of, open_to_others


@pytest.fixture(autouse=True)
def _lax_umask() -> None:
    os.umask(0)


def test_a_home_is_made_for_the_user_alone(tmp_path: Path) -> None:
    home = tmp_path / "disk/home"

    make_home(Settings(home=home))

    assert mode_of(home) == 0o700
    assert os.umask(0) == 0


def test_a_home_that_others_may_enter_is_closed_and_keeps_what_it_holds(tmp_path: Path) -> None:
    home, link = tmp_path / "home", tmp_path / "link"
    home.mkdir(mode=0o2777)
    (home / "mlflow.db").write_text("tables")
    link.symlink_to(home)

    make_home(Settings(home=link))

    assert mode_of(home) == 0o700
    assert (home / "mlflow.db").read_text() == "tables"


def test_what_this_process_and_its_children_write_is_the_users_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"

    private_home(Settings(home=home))
    (home / "runs").mkdir()
    (home / "runs/a").touch()
    subprocess.run("mkdir logs && touch logs/b", shell=True, cwd=home, check=True)  # noqa: S602

    assert {path.name for path in home.rglob("*")} == {"runs", "a", "logs", "b"}
    assert open_to_others(home) == []


def test_a_folder_that_users_share_is_no_home(tmp_path: Path) -> None:
    shared = tmp_path / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)

    with pytest.raises(ParamsError, match=f"LUNGSEG_HOME={shared}: a folder that users share; set"):
        make_home(Settings(home=shared))

    assert mode_of(shared) == 0o777


def test_a_home_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    (tmp_path / "home").mkdir(mode=0o770)
    monkeypatch.setattr(Path, "chmod", refuse)

    with pytest.raises(ParamsError, match="Operation not permitted; set it to a folder that is"):
        make_home(Settings(home=tmp_path / "home"))


def test_a_file_is_no_home(tmp_path: Path) -> None:
    (tmp_path / "home").touch()

    with pytest.raises(ParamsError, match="File exists"):
        make_home(Settings(home=tmp_path / "home"))


def test_a_secret_may_be_given_by_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("from a file\n")
    for name in SECRETS:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(f"{name}_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "given itself")

    read_secret_files()

    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "given itself"
    assert os.environ["LUNGSEG_AIRFLOW_PASSWORD"] == "from a file"


@pytest.mark.parametrize(("content", "reason"), [(None, "No such file"), (b"\xff\xfe", "not text")])
def test_a_secret_file_that_cannot_be_read_is_one_line(
    content: bytes | None, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content:
        (tmp_path / "secret").write_bytes(content)
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD_FILE", str(tmp_path / "secret"))

    with pytest.raises(ParamsError, match=f"MLFLOW_TRACKING_PASSWORD_FILE=.*secret: {reason}"):
        read_secret_files()


def test_the_log_in_of_mlflow_is_what_its_client_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    without = Settings().tracking_login
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")

    assert without is None
    assert Settings().tracking_login == ("ada", "secret")


def test_option_of_airflow_may_be_given_by_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "AIRFLOW__CELERY__BROKER_URL"
    monkeypatch.delenv(name, raising=False)
    assert Settings().broker_url is None

    monkeypatch.setenv(f"{name}_CMD", "echo 'redis://of a command'")
    assert Settings().broker_url == "redis://of a command"

    monkeypatch.setenv(name, "redis://said")
    assert Settings().broker_url == "redis://said"


@pytest.mark.parametrize(("command", "said"), [("false", "CalledProcess"), ("/no", "No such file")])
def test_command_of_an_option_that_fails_is_named(
    monkeypatch: pytest.MonkeyPatch, command: str, said: str
) -> None:
    monkeypatch.delenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", raising=False)
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD", command)

    with pytest.raises(
        ParamsError, match=f"SQL_ALCHEMY_CONN_CMD={command}: {said}.*expected a com"
    ):
        _ = Settings().airflow_database


def test_mlflows_client_reports_nothing_of_its_use() -> None:
    program = (
        "from pipeline.settings import quiet_libraries; quiet_libraries()\n"
        "from mlflow.telemetry import utils\n"
        "utils._IS_IN_CI_ENV_OR_TESTING = False\n"  # where it reports nothing anyway
        "print(utils.is_telemetry_disabled())"
    )
    outside = {name: value for name, value in os.environ.items() if name not in LIBRARIES}

    done = subprocess.run(
        [sys.executable, "-c", program], env=outside, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["True"]
