"""The folder of the local Airflow: its configuration, secrets, password and database."""

from __future__ import annotations

import base64
import configparser
import importlib.metadata
import json
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import ServiceError
from pipeline.files import atomic_path, read_json
from pipeline.services.daemon import Daemon, end
from pipeline.settings import Settings

PASSWORDS = "passwords.json"


def program(name: str) -> str:
    """A command of this environment, beside its Python."""
    return str(Path(sys.executable).with_name(name))


def folder(settings: Settings) -> Path:
    """AIRFLOW_HOME of the local Airflow."""
    return settings.home / "airflow"


def project(settings: Settings) -> Path:
    """The project that the services serve: LUNGSEG_REPO if it is a folder of one, else this code's.

    Raises ServiceError if neither has a folder dags/.
    """
    for root in (Path(settings.repo), Path(__file__).parents[2]):
        if (root / "dags").is_dir():
            return root.absolute()
    raise ServiceError(f"{settings.repo}: has no folder dags/; set LUNGSEG_REPO to the project")


def prepare(settings: Settings, environment: Mapping[str, str]) -> None:
    """Write configuration, secrets and password, and make or update the database."""
    _configure(settings)
    _write_password(settings)
    _migrate(settings, environment)


def _configure(settings: Settings) -> None:
    """Write airflow.cfg; the secrets of an earlier one stay."""
    path = folder(settings) / "airflow.cfg"
    old = configparser.RawConfigParser()
    old.read(path, encoding="utf-8")
    parser = configparser.RawConfigParser()
    parser.read_dict(_configuration(settings))
    for section, key, fresh in (
        ("core", "fernet_key", base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()),
        ("api", "secret_key", secrets.token_urlsafe(48)),
        ("api_auth", "jwt_secret", secrets.token_urlsafe(64)),
    ):
        parser.setdefault(section, {})
        parser[section][key] = old.get(section, key, fallback=fresh)
    with atomic_path(path) as partial:
        partial.touch(mode=0o600)
        with partial.open("w", encoding="utf-8") as file:
            file.write(
                "# Written by `lungseg up`; a change made here is lost at the next start.\n\n"
            )
            parser.write(file)


def _configuration(settings: Settings) -> dict[str, dict[str, str]]:
    home = str(folder(settings)).replace("%", "%%")
    return {
        "core": {
            "dags_folder": str(project(settings) / "dags").replace("%", "%%"),
            "load_examples": "False",
            "executor": "LocalExecutor",
            "parallelism": "8",
            "hostname_callable": "socket.gethostname",  # the default asks a name server
            "simple_auth_manager_users": f"{settings.airflow_user}:admin",
            "simple_auth_manager_passwords_file": f"{home}/{PASSWORDS}",
        },
        "database": {
            "sql_alchemy_conn": f"sqlite:///{home}/airflow.db",
            "check_migrations": "False",  # `lungseg up` migrates; checking costs each start seconds
        },
        "api": {
            "host": "127.0.0.1",
            "port": str(settings.airflow_port),
            "base_url": f"http://127.0.0.1:{settings.airflow_port}",
            "workers": "1",
        },
        "workers": {
            # A task may start before the API server answers, and a busy machine is slow to answer;
            # with the defaults (5 s, 5 times) that costs the task one of its retries.
            "execution_api_timeout": "60",
            "execution_api_retries": "10",
            "execution_api_retry_wait_max": "15",
        },
        "logging": {
            "colored_console_log": "False",
            # Some logs get these bits whatever the umask is, by default more than the user's.
            "file_task_handler_new_folder_permissions": "0o700",
            "file_task_handler_new_file_permissions": "0o600",
        },
        "scheduler": {
            # A task whose processes died with nobody to tell is retried within this time.
            "task_instance_heartbeat_timeout": "45",
            "task_instance_heartbeat_timeout_detection_interval": "5",
            "orphaned_tasks_check_interval": "30",
        },
        "dag_processor": {
            "parsing_processes": "1",
            "refresh_interval": "10",
            "min_file_process_interval": "30",
        },
    }


def _write_password(settings: Settings) -> None:
    """Write the user's password, generated if there is none, and then show it once."""
    path = folder(settings) / PASSWORDS
    passwords: dict[str, str] = read_json(path) if path.exists() else {}
    user, generated = settings.airflow_user, secrets.token_urlsafe(12)
    passwords[user] = settings.airflow_password or passwords.get(user) or generated
    with atomic_path(path) as partial:
        partial.touch(mode=0o600)
        partial.write_text(json.dumps(passwords) + "\n", encoding="utf-8")
    if passwords[user] == generated and sys.stdout.isatty():  # anything else may be kept as a log
        sys.stdout.write(f"Airflow's password of {user}, shown this once: {generated}\n")


def account(settings: Settings) -> str:
    """How a person logs in, in words: the user, and the file of a password not set by hand."""
    where = "" if settings.airflow_password else f", password in {folder(settings) / PASSWORDS}"
    return f"log in as {settings.airflow_user}{where}"


def password(settings: Settings) -> str:
    """LUNGSEG_AIRFLOW_PASSWORD, else the one of the local Airflow. Raises ServiceError."""
    if settings.airflow_password:
        return settings.airflow_password
    path = folder(settings) / PASSWORDS
    try:
        return str(read_json(path)[settings.airflow_user])
    except (FileNotFoundError, KeyError, ValueError):
        raise ServiceError(
            f"{path}: no password of {settings.airflow_user!r}; start Airflow with `lungseg up`, "
            f"or set LUNGSEG_AIRFLOW_USER and LUNGSEG_AIRFLOW_PASSWORD"
        ) from None


def _migrate(settings: Settings, environment: Mapping[str, str]) -> None:
    """Make or update the database once per version of Airflow. Raises ServiceError."""
    done = folder(settings) / "database.version"
    version = importlib.metadata.version("apache-airflow")
    if done.exists() and done.read_text(encoding="utf-8") == version:
        return
    daemon = Daemon("airflow-migrate", settings.home, (program("airflow"), "db", "migrate"))
    process = daemon.start(environment)
    try:
        code = process.wait()
    finally:
        end([process], patience=5)  # it only still runs when this process was interrupted
    if code != 0:
        raise ServiceError(
            f"airflow db migrate ended with exit code {code}: {daemon.telling_line()}; "
            f"see {daemon.log}"
        )
    with atomic_path(done) as partial:
        partial.write_text(version, encoding="utf-8")
