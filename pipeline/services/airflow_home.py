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
from pipeline.git_command import without_login
from pipeline.services.airflow_settings import EVERYWHERE, Sections
from pipeline.services.daemon import Daemon, end
from pipeline.settings import Settings

PASSWORDS = "passwords.json"
MIGRATED = "database.version"
"""Says which version of Airflow made or updated the database beside it."""


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
    raise ServiceError(
        f"{without_login(settings.repo)}: has no folder dags/; set LUNGSEG_REPO to the project"
    )


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


def _configuration(settings: Settings) -> Sections:
    """What every deployment shares, and what is of this host alone."""
    home = str(folder(settings)).replace("%", "%%")
    here: Sections = {
        "core": {
            "dags_folder": str(project(settings) / "dags").replace("%", "%%"),
            "executor": "LocalExecutor",
            "simple_auth_manager_users": f"{settings.airflow_user}:admin",
            "simple_auth_manager_passwords_file": f"{home}/{PASSWORDS}",
        },
        "database": {"sql_alchemy_conn": f"sqlite:///{home}/airflow.db"},
        "api": {
            "host": "127.0.0.1",
            "port": str(settings.airflow_port),
            "base_url": f"http://127.0.0.1:{settings.airflow_port}",
        },
    }
    return {name: {**EVERYWHERE.get(name, {}), **here.get(name, {})} for name in EVERYWHERE | here}


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
    done, database = folder(settings) / MIGRATED, folder(settings) / "airflow.db"
    version = importlib.metadata.version("apache-airflow")
    if database.exists() and done.exists() and done.read_text(encoding="utf-8") == version:
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
