"""The scripts of docker/: secrets, the start of a container, its health."""

from __future__ import annotations

import configparser
import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.conftest import PROJECT, free_port, mode_of

DOCKER = PROJECT / "docker"


def run(*command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", **variables}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docker") / "secrets"
    done = run(DOCKER / "make_secrets.sh", folder, folder.with_name("env"))
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def test_nobody_else_enters_the_secrets(secrets: Path) -> None:
    assert mode_of(secrets) == 0o700
    assert mode_of(secrets.with_name("env")) == 0o600


def test_every_secret_of_the_stack_is_made_and_no_other(secrets: Path) -> None:
    asked = set(re.findall(r"LUNGSEG_SECRETS:-\}/([\w.]+)", (DOCKER / "compose.yaml").read_text()))

    made = {path.name for path in secrets.iterdir()}
    assert made - asked == {"airflow_password"}  # for people
    assert asked - made == set()


def test_secrets_are_what_their_readers_expect(secrets: Path) -> None:
    text = {path.name: path.read_text() for path in secrets.iterdir()}
    password = text["mlflow_database_password"]
    auth = configparser.ConfigParser()
    auth.read_string(text["mlflow_auth.ini"])
    [identity] = json.loads(text["s3.json"])["identities"][0]["credentials"]

    Fernet(text["fernet_key"])
    load_pem_private_key(text["signing_key"].encode(), None)
    assert len(text["jwt_secret"]) == 64
    assert json.loads(text["airflow_passwords.json"]) == {"admin": text["airflow_password"]}
    assert f"mlflow:{password}@" in text["mlflow_database_url"]
    assert f"mlflow:{password}@" in auth["mlflow"]["database_uri"]
    assert auth["mlflow"]["admin_password"] == text["mlflow_password"]
    assert f"= {identity['secretKey']}" in text["aws_credentials"]
    assert text["redis.conf"].endswith(text["broker_url"].split(":")[2].partition("@")[0])
    assert [name for name in text if name != "signing_key" and text[name].endswith("\n")] == []


def test_secrets_are_never_overwritten_and_differ_each_time(secrets: Path, tmp_path: Path) -> None:
    before = (secrets / "jwt_secret").read_text()

    again = run(DOCKER / "make_secrets.sh", secrets, tmp_path / "env")
    run(DOCKER / "make_secrets.sh", tmp_path / "other", tmp_path / "env")

    assert again.returncode == 1
    assert "exists already" in again.stderr
    assert (secrets / "jwt_secret").read_text() == before
    assert (tmp_path / "other" / "jwt_secret").read_text() != before


def test_a_relative_folder_of_secrets_is_found_from_composes_own_folder(tmp_path: Path) -> None:
    command = [DOCKER / "make_secrets.sh", "mine", tmp_path / "env"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    assert f"LUNGSEG_SECRETS={tmp_path / 'mine'}\n" in (tmp_path / "env").read_text()


@pytest.fixture
def entrypoint(tmp_path: Path) -> Path:
    """The script, with its folder below /tmp and a stand-in for dumb-init beside it."""
    text = (DOCKER / "entrypoint.sh").read_text().replace("/tmp/own", str(tmp_path / "own"))  # noqa: S108
    (tmp_path / "entrypoint.sh").write_text(text)
    (tmp_path / "dumb-init").write_text('#!/bin/sh\nshift\nexec "$@"\n')
    for name in ("entrypoint.sh", "dumb-init"):
        (tmp_path / name).chmod(0o755)
    return tmp_path / "entrypoint.sh"


def start(entrypoint: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return run(entrypoint, *command, **variables, PATH=f"{entrypoint.parent}:/usr/bin:/bin")


def test_a_container_takes_values_from_files(entrypoint: Path, tmp_path: Path) -> None:
    (tmp_path / "uri").write_text("postgresql://a:b@c/d?e=f g\n")

    done = start(
        *(entrypoint, "printenv", "MLFLOW_BACKEND_STORE_URI"),
        MLFLOW_BACKEND_STORE_URI_FILE=str(tmp_path / "uri"),
    )

    assert done.stdout == "postgresql://a:b@c/d?e=f g\n"


def test_a_container_makes_its_key_its_own(entrypoint: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret")
    (tmp_path / "key").chmod(0o644)

    done = start(
        entrypoint, "printenv", "LUNGSEG_SIGNING_KEY", LUNGSEG_SIGNING_KEY=str(tmp_path / "key")
    )

    copy = Path(done.stdout.strip())
    assert copy.read_text() == "secret"
    assert mode_of(copy) == 0o600


@pytest.mark.parametrize("name", ["MLFLOW_FLASK_SERVER_SECRET_KEY_FILE", "LUNGSEG_SIGNING_KEY"])
def test_a_container_without_its_secret_says_so_and_ends(entrypoint: Path, name: str) -> None:
    done = start(entrypoint, "true", **{name: "/run/secrets/none"})

    assert done.returncode == 1
    assert done.stderr == f"{name}=/run/secrets/none: cannot be read\n"


class Page(http.server.BaseHTTPRequestHandler):
    """Airflow's health page, with a scheduler that is well and a triggerer that is not."""

    def do_GET(self) -> None:
        known = self.path == "/api/v2/monitor/health"
        self.send_response(200 if known else 404)
        self.end_headers()
        status = {"scheduler": {"status": "healthy"}, "triggerer": {"status": "unhealthy"}}
        self.wfile.write(json.dumps(status).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), Page) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.parametrize(
    ("command", "code", "problem"),
    [
        ("answers {}/api/v2/monitor/health", 0, ""),
        ("answers {}/api/v2/monitor/health {}/else", 1, "404"),
        ("answers http://127.0.0.1:1/", 1, "refused"),
        ("beats {} scheduler", 0, ""),
        ("beats {} triggerer", 1, "unhealthy"),
        ("beats {} dag_processor", 1, "None"),
    ],
)
def test_health_is_told_by_the_exit_code(
    server: str, command: str, code: int, problem: str
) -> None:
    done = run(sys.executable, DOCKER / "healthcheck.py", *command.replace("{}", server).split())

    assert done.returncode == code
    assert problem in done.stderr


def test_a_worker_is_asked_through_the_broker_of_airflows_settings(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("redis://:secret@redis:6379/0\n")
    (tmp_path / "celery").write_text(
        '#!/bin/sh\n[ "$CELERY_BROKER_URL" = redis://:secret@redis:6379/0 ] && echo "$@" > '
        f'"{tmp_path}/asked"\n'
    )
    (tmp_path / "celery").chmod(0o755)
    check = (sys.executable, DOCKER / "healthcheck.py", "worker")
    path = f"{tmp_path}:/usr/bin:/bin"
    command = f"cat {tmp_path / 'url'}"

    assert run(*check, PATH=path, AIRFLOW__CELERY__BROKER_URL_CMD=command).returncode == 0
    assert "inspect ping --timeout 10 --destination celery@" in (tmp_path / "asked").read_text()
    assert run(*check, PATH=path, AIRFLOW__CELERY__BROKER_URL="redis://else").returncode == 1


def test_shell_scripts_can_be_run() -> None:
    scripts = sorted(DOCKER.rglob("*.sh"))

    assert [script.name for script in scripts if mode_of(script) & 0o111 == 0] == []
    shell = shutil.which("sh") or "sh"
    assert [run(shell, "-n", script).stderr for script in scripts if script.suffix == ".sh"] == [
        "" for _ in scripts
    ]
