"""What the local MLflow and Airflow consist of: commands, addresses, environment, health."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil

from pipeline.services import airflow_home
from pipeline.services.daemon import Daemon
from pipeline.settings import Settings, child_environment

Health = Callable[[psutil.Process], bool]


@dataclass(frozen=True)
class Service:
    """A background process and what tells its health; a server also has a port and its setting.

    One that no task needs is started last and not waited for.
    """

    title: str
    daemon: Daemon
    healthy: Health
    url: str = ""
    port: int = 0
    setting: str = ""
    needed: bool = True


def services(settings: Settings) -> list[Service]:
    """The processes to run here; none for an address that the settings place elsewhere."""
    local = []
    if is_local(settings.tracking_uri, settings.mlflow_port):
        local.append(_mlflow(settings))
    if is_local(settings.airflow_url, settings.airflow_port):
        local.extend(_airflow(settings))
    return local


def is_local(url: str, port: int) -> bool:
    """Whether the address is the local service's own."""
    parts = urlsplit(url)
    return parts.hostname in ("127.0.0.1", "localhost", "::1") and parts.port == port


def _mlflow(settings: Settings) -> Service:
    folder = settings.home / "mlflow"
    url = f"http://127.0.0.1:{settings.mlflow_port}"
    command = (
        *(airflow_home.program("mlflow"), "server", "--host", "127.0.0.1"),
        *("--port", str(settings.mlflow_port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
        *("--artifacts-destination", str(folder / "artifacts")),
    )

    def answers(_: psutil.Process) -> bool:
        return _get(f"{url}/health") is not None

    daemon = Daemon("mlflow", settings.home, command)
    return Service("MLflow", daemon, answers, url, settings.mlflow_port, "LUNGSEG_MLFLOW_PORT")


def _airflow(settings: Settings) -> list[Service]:
    url = f"http://127.0.0.1:{settings.airflow_port}"
    program = airflow_home.program("airflow")
    server = (program, "api-server", "--host", "127.0.0.1", "--port", str(settings.airflow_port))

    def daemon(name: str, *command: str) -> Daemon:
        return Daemon(f"airflow-{name}", settings.home, command)

    def answers(_: psutil.Process) -> bool:
        people, tasks = "api/v2/monitor/health", "execution/health/ping"
        return all(_get(f"{url}/{path}") is not None for path in (people, tasks))

    def beats(component: str) -> Health:
        return lambda process: _beats(url, component, process)

    return [
        Service(
            *("Airflow", daemon("server", *server), answers),
            *(url, settings.airflow_port, "LUNGSEG_AIRFLOW_PORT"),
        ),
        Service(
            "Airflow scheduler",
            daemon("scheduler", program, "scheduler", "--skip-serve-logs"),
            beats("scheduler"),
        ),
        Service(
            "Airflow DAG processor",
            daemon("dag-processor", program, "dag-processor"),
            beats("dag_processor"),
        ),
        Service(
            "Airflow triggerer",
            daemon("triggerer", program, "triggerer", "--skip-serve-logs"),
            beats("triggerer"),
            needed=False,
        ),
    ]


def _beats(url: str, component: str, process: psutil.Process) -> bool:
    """Whether the component reported a heartbeat since this process of it started."""
    response = _get(f"{url}/api/v2/monitor/health")
    health = response.json()[component] if response else {"status": None}
    if health["status"] != "healthy":
        return False
    beat = datetime.fromisoformat(str(health[f"latest_{component}_heartbeat"]))
    return beat.timestamp() >= process.create_time()


def _get(url: str) -> httpx.Response | None:
    """The answer of a local server; None while it gives none."""
    try:
        response = httpx.get(url, timeout=5, trust_env=False)  # no proxy stands before loopback
    except httpx.TransportError:
        return None
    return response if response.is_success else None


def environment(settings: Settings) -> dict[str, str]:
    """What the services and the tasks of Airflow see, mlflow/server.env included.

    Variables that would lead Airflow past its airflow.cfg, to another database say, are left out.
    """
    repo = Path(settings.repo)
    inherited = child_environment(
        AIRFLOW_HOME=str(airflow_home.folder(settings)),
        LUNGSEG_HOME=str(settings.home),
        LUNGSEG_REPO=str(repo.absolute()) if repo.is_dir() else settings.repo,
        MLFLOW_TRACKING_URI=settings.tracking_uri,
        SPT_NOENV="1",  # a process that renames itself leaves its environment readable: daemon.MARK
        **read_variables(airflow_home.project(settings) / "mlflow" / "server.env"),
    )
    for name in ("NO_PROXY", "no_proxy"):
        inherited[name] = f"{inherited.get(name, '')},127.0.0.1,localhost".lstrip(",")
    hidden = ("AIRFLOW__", "AIRFLOW_CONFIG")
    return {name: inherited[name] for name in inherited if not name.startswith(hidden)}


def read_variables(path: Path) -> dict[str, str]:
    """The `NAME=value` lines of an environment file; comments and empty lines are passed over."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    return {name.strip(): value.strip() for name, _, value in pairs}
