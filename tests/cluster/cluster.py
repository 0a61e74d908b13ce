"""The stack of docker/compose.yaml on several hosts, with its commands, settings and secrets."""

from __future__ import annotations

import configparser
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from pipeline.services.airflow import Airflow
from pipeline.services.roles import HEALTH_PAGE
from tests.cluster.hosts import Host, Network, await_, network
from tests.conftest import PROJECT, git
from tests.projects import QUICK, make_project

BIN = Path(sys.executable).parent
BUCKET = "lungseg"
CONTROL = ("postgres", "redis", "storage", "mlflow", "airflow-server", "git")
"""Names of what the control host serves."""
AIRFLOW = ("airflow-server", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer")
RESTART = 'while :; do "$@"; echo "ended with $?; started again"; sleep 1; done'
BOUNDS = [f"{key}={value}" for key, value in QUICK.items() if key.startswith("gate.")]
REPO = "git://git/project.git"


def postgres_bin() -> Path | None:
    """Where the programs of Debian's PostgreSQL are; None when it is not installed."""
    return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"))), None)


@dataclass(frozen=True)
class Cluster:
    """A control host with all services, and hosts with a worker each."""

    net: Network
    control: Host
    settings: Mapping[str, Any]
    """The services as `docker compose config` says them."""

    def environment(self, service: str) -> dict[str, str]:
        """What compose gives the service, with the places of a host that is no container."""
        disk = self.net.folder / "disk"
        system = {name: os.environ[name] for name in ("LANG",) if name in os.environ}
        places = {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "AIRFLOW_HOME": "/tmp/airflow",  # noqa: S108 - a host has one of its own
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(disk / "logs"),
            "LUNGSEG_BIN": str(BIN / "lungseg"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        given = self.settings[service].get("environment") or {}
        home = {"LUNGSEG_HOME": str(disk / "lungseg")} if "LUNGSEG_HOME" in given else {}
        return {**system, **{k: str(v) for k, v in given.items()}, **places, **home}

    def start(self, host: Host, service: str) -> None:
        """Start a service as its container would, again when it ends by itself."""
        given = self.settings[service]
        assert given["restart"] == "unless-stopped"
        command = ["sh", PROJECT / "docker/entrypoint.sh", *given["command"]]
        host.start(service, ["sh", "-c", RESTART, "restart", *command], self.environment(service))

    def start_storage(self) -> None:
        """Start the S3 storage; another product than in compose, with the same secrets and port."""
        keys = configparser.ConfigParser()
        keys.read(self.net.secrets / "aws_credentials")
        key = ",".join(keys["default"][f"aws_{name}"] for name in KEYS)
        command = ["rclone", "serve", "s3", self.control.disk / "s3", "--addr", ":8333"]
        command += ["--auth-key", key, "--vfs-cache-mode", "off", "--config", "/dev/null"]
        self.control.start("storage", command, self.environment("storage"))

    def start_redis(self) -> None:
        """Start Redis with the configuration that compose gives it, its data on this disk."""
        data = self.control.own / "redis"
        data.mkdir(exist_ok=True)
        given = (self.net.secrets / "redis.conf").read_text()
        place = f"dir {self.control.disk / 'redis'}"
        (data / "redis.conf").write_text(given.replace("dir /data", place))
        command = ["redis-server", self.control.disk / "redis/redis.conf"]
        self.control.start("redis", command, self.environment("redis"))

    def start_postgres(self) -> None:
        """Make the databases as compose's container does, and serve them."""
        programs, data = postgres_bin(), self.control.disk / "postgres"
        assert programs
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        variables = self.environment("postgres") | {"PATH": f"{programs}:{os.environ['PATH']}"}
        (self.control.own / "postgres").mkdir()
        self.control.run(["chown", "postgres", data], variables)
        self.control.run(["chmod", "1777", "/run"], variables)
        access = ["--auth-local=trust", "--auth-host=scram-sha-256"]
        password = "--pwfile=/run/secrets/postgres_password"
        self.control.run([*user, "initdb", "--no-sync", "-D", data, password, *access], variables)
        with (self.control.own / "postgres/pg_hba.conf").open("a") as file:
            file.write("host all all all scram-sha-256\n")
        options = ["-c", "listen_addresses=*", "-c", "fsync=off", "-k", "/tmp"]  # noqa: S108
        self.control.start("postgres", [*user, "postgres", "-D", data, *options], variables)
        socket = {**variables, "PGHOST": "/tmp"}  # noqa: S108
        ready = [*self.control.command(["pg_isready", "--quiet"])]
        await_("postgres", lambda: not subprocess.call(ready, env=socket), 60)
        self.control.run(["sh", PROJECT / "docker/postgres.sh"], {**socket, "PGUSER": "postgres"})

    def boot_worker(self, host: Host, service: str, *, empty: bool = False) -> None:
        """Boot a host and start its worker, which takes tasks some seconds later."""
        host.boot(empty=empty)
        self.start(host, service)

    def ready(self, host: Host, service: str) -> bool:
        """Whether the worker has said that it takes tasks."""
        log = self.net.folder / "logs" / f"{host.name}-{service}.log"
        return f"celery@{host.name} ready" in log.read_text(errors="replace")

    def healthy(self) -> bool:
        """Whether MLflow answers and every part of Airflow lives."""
        page = f"http://{self.control.address}:8080{HEALTH_PAGE}"
        try:
            health = httpx.get(page, trust_env=False, timeout=5).json()
            mlflow = httpx.get(self.mlflow("health"), trust_env=False, timeout=5)
        except (httpx.TransportError, ValueError):
            return False
        parts = ("metadatabase", "scheduler", "dag_processor", "triggerer")
        return mlflow.is_success and all(health[part]["status"] == "healthy" for part in parts)

    def mlflow(self, path: str) -> str:
        """The address of a page of MLflow, from here."""
        return f"http://{self.control.address}:5000/{path}"

    def airflow(self) -> Airflow:
        """Airflow's API, logged in."""
        password = (self.net.secrets / "airflow_password").read_text()
        return Airflow(f"http://{self.control.address}:8080", "admin", password)

    def client(self) -> dict[str, str]:
        """The environment of a person at the control host."""
        return self.environment("init") | {
            "LUNGSEG_AIRFLOW_URL": "http://airflow-server:8080",
            "LUNGSEG_AIRFLOW_PASSWORD_FILE": "/run/secrets/airflow_password",
        }

    def lungseg(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command of a person at the control host, who is in a checkout of the project."""
        return subprocess.Popen(
            self.control.command(["lungseg", *arguments], "project"),
            env=self.control.environment(self.client()),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def stored(self, folder: str) -> list[Path]:
        """The files in a folder of the bucket."""
        root = self.control.own / "s3" / BUCKET / folder
        return [path for path in root.rglob("*") if path.is_file()]


KEYS = ("access_key_id", "secret_access_key")


def read_compose(secrets: Path) -> dict[str, Any]:
    """The services of docker/compose.yaml, as Docker reads them."""
    command = [BIN / "docker-compose", "--file", PROJECT / "docker/compose.yaml"]
    command += ["--profile", "gpu", "config", "--format", "json"]
    variables = {"LUNGSEG_SECRETS": str(secrets), "LUNGSEG_REPO": REPO, "LUNGSEG_SCHEDULE": "none"}
    done = subprocess.run(
        command,
        env={**os.environ, **variables, "LUNGSEG_CPU_QUEUES": "default"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    services: dict[str, Any] = json.loads(done.stdout)["services"]
    return services


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """All services on the control host, healthy, and the project in its git; no worker yet."""
    secrets = folder / "secrets"
    script = ["sh", PROJECT / "docker/make_secrets.sh", secrets, folder / ".env"]
    subprocess.run(script, check=True, capture_output=True)
    secrets.chmod(0o755)
    make_project(folder / "project", BOUNDS)
    with network(secrets) as net:
        control = net.add("control", *CONTROL)
        for name in ("cpu", "gpu1", "gpu2"):
            net.add(name)
        cluster = Cluster(net, control, read_compose(secrets))
        control.boot()
        cluster.start_postgres()
        cluster.start_redis()
        (control.own / "s3").mkdir()
        cluster.start_storage()
        _serve_project(cluster, folder / "project")
        cluster.start(control, "mlflow")
        control.run(["lungseg", "deploy", "init"], cluster.environment("init"))
        for service in AIRFLOW:
            cluster.start(control, service)
        _push_data(cluster, folder / "project")
        await_("the services", cluster.healthy, 240)
        yield cluster


def _serve_project(cluster: Cluster, project: Path) -> None:
    disk = cluster.control.own
    git(project, "clone", "--quiet", "--bare", ".", str(disk / "git/project.git"))
    git(project, "clone", "--quiet", ".", str(disk / "project"))
    command = ["git", "daemon", "--export-all", f"--base-path={cluster.control.disk / 'git'}"]
    cluster.control.start("git", [*command, "--reuseaddr"], cluster.environment("init"))


def _push_data(cluster: Cluster, project: Path) -> None:
    """Push the dataset to the store, as whoever imports one does."""
    variables = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "NO_PROXY": "*"}
    variables["AWS_SHARED_CREDENTIALS_FILE"] = str(cluster.net.secrets / "aws_credentials")
    endpoint = f"http://{cluster.control.address}:8333"
    for arguments in (
        ["remote", "add", "--local", "--default", "store", f"s3://{BUCKET}/dvc"],
        ["remote", "modify", "--local", "store", "endpointurl", endpoint],
        ["push", "--quiet", "data"],
    ):
        subprocess.run(["dvc", *arguments], cwd=project, env=variables, check=True)
