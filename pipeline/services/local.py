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
from pipeline.services.roles import (
    AIRFLOW,
    HEALTH_PAGE,
    MLFLOW,
    Answers,
    Beats,
    Role,
    Succeeds,
)
from pipeline.settings import Settings, child_environment

Probe = Callable[[psutil.Process], bool]

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Service:
    """A background process and what tells its health; a server also has a port and its setting.

    One that no task needs is started last and not waited for.
    """

    title: str
    daemon: Daemon
    healthy: Probe
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
    stores = (
        *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
        *("--artifacts-destination", str(folder / "artifacts")),
    )
    return _server(MLFLOW, settings, settings.mlflow_port, "LUNGSEG_MLFLOW_PORT", stores)


def _airflow(settings: Settings) -> list[Service]:
    server, *others = AIRFLOW
    port = settings.airflow_port
    return [
        _server(server, settings, port, "LUNGSEG_AIRFLOW_PORT"),
        *(
            Service(
                role.title,
                Daemon(role.name, settings.home, _command(role, port)),
                _health(role, _url(port)),
                needed=role.name != "airflow-triggerer",
            )
            for role in others
        ),
    ]


def _server(
    role: Role, settings: Settings, port: int, setting: str, options: tuple[str, ...] = ()
) -> Service:
    url = _url(port)
    daemon = Daemon(role.name, settings.home, (*_command(role, port), *options))
    return Service(role.title, daemon, _health(role, url), url, port, setting)


def _url(port: int) -> str:
    return f"http://{LOOPBACK}:{port}"


def _command(role: Role, port: int) -> tuple[str, ...]:
    """The role's command with the program of this environment."""
    program, *options = role.command_line(LOOPBACK, port)
    return (airflow_home.program(program), *options)


def _health(role: Role, url: str) -> Probe:
    """How a local process of the role is asked, given the address of its product's server."""
    match role.health:
        case Answers(paths):
            return lambda _: all(_get(f"{url}{path}") is not None for path in paths)
        case Beats(component):
            return lambda process: _beats(url, component, process)
        case Succeeds():
            raise AssertionError(f"{role.name}: nothing that runs here is asked by a command")


def _beats(url: str, component: str, process: psutil.Process) -> bool:
    """Whether the component reported a heartbeat since this process of it started."""
    response = _get(f"{url}{HEALTH_PAGE}")
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
