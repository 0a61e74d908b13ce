"""Start, stop and show the local services: MLflow and Airflow on the loopback address."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import filelock
import psutil

from pipeline.errors import ServiceError
from pipeline.git_command import without_login
from pipeline.services import airflow_home
from pipeline.services.airflow import log_in, pool_sizes
from pipeline.services.daemon import alive, descendants, end
from pipeline.services.gpu_cards import listed_cards
from pipeline.services.local import Service, environment, is_local, services
from pipeline.settings import Settings, make_home

logger = logging.getLogger(__name__)

PATIENCE = 240
"""Seconds after which a start is given up; on two slow cores the first one takes 40."""


@dataclass(frozen=True)
class Status:
    """A service as a row: it is running, starting, not answering, stopped, or elsewhere."""

    service: str
    state: str
    pid: int | None
    url: str
    log: Path | None


def up(settings: Settings) -> list[Status]:
    """Start what does not run yet and return when everything answers; safe to call at any time.

    Raises ServiceError: a port is taken, a service ended while starting or does not answer.
    """
    with _lock(settings):
        wanted = services(settings)
        missing = [service for service in wanted if not service.daemon.process()]
        for service in wanted:
            if service in missing:
                _check_port(service)
            else:
                _check_command(service)
        if missing:
            _start(settings, missing)
        else:
            logger.info("everything runs already")
        if any(service.daemon.name.startswith("airflow") for service in wanted):
            _make_pools(settings)
    return status(settings)


def down(settings: Settings) -> int:
    """End the services and all that they started; the number of processes that ended.

    A task at work reports itself for a retry, which the next `up` brings about.
    """
    with _lock(settings):
        running = descendants(settings.home)
        if not running:
            logger.info("nothing runs")
            return 0
        logger.info("stopping %d processes", len(running))
        # A task reports its end through the API server: the servers are the last to go.
        known = [service.daemon.process() for service in services(settings) if service.port]
        servers = {process.pid for process in known if process}
        end([process for process in running if process.pid not in servers], patience=10)
        end(descendants(settings.home), patience=3)
        return len(running)


def status(settings: Settings) -> list[Status]:
    """Every service with its state, process id, address and log."""
    rows = [_row(service) for service in services(settings)]
    for title, url, port in (
        ("MLflow", settings.tracking_uri, settings.mlflow_port),
        ("Airflow", settings.airflow_url, settings.airflow_port),
    ):
        if not is_local(url, port):
            rows.append(Status(title, "elsewhere", None, without_login(url), None))
    return rows


def _row(service: Service) -> Status:
    process = service.daemon.process()
    if process is None:
        return Status(service.title, "stopped", None, service.url, service.daemon.log)
    state = "starting" if time.time() - process.create_time() < PATIENCE else "not answering"
    state = "running" if service.healthy(process) else state
    return Status(service.title, state, process.pid, service.url, service.daemon.log)


@contextmanager
def _lock(settings: Settings) -> Iterator[None]:
    """One `up` or `down` at a time; the second waits for the first."""
    make_home(settings)
    lock = filelock.FileLock(settings.home / "services.lock")
    if not _acquired(lock, 0):
        logger.info("another `lungseg up` or `down` is at work; waiting for it")
        if not _acquired(lock, PATIENCE):
            raise ServiceError(
                f"{lock.lock_file}: held for {PATIENCE} s by another `lungseg up` or `down`; end it"
            )
    try:
        yield
    finally:
        lock.release()


def _acquired(lock: filelock.BaseFileLock, patience: float) -> bool:
    try:
        lock.acquire(timeout=patience)
    except filelock.Timeout:
        return False
    return True


def _check_port(service: Service) -> None:
    if not service.port:
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", service.port))
        except OSError as error:
            raise ServiceError(
                f"port {service.port} for {service.title}: {error.strerror}"
                f"{_holder(service.port)}; set {service.setting} to a free port"
            ) from None


def _holder(port: int) -> str:
    """Who listens there, as far as this user may know."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return ""
    pids = [c.pid for c in connections if c.laddr and c.laddr.port == port and c.status == "LISTEN"]
    known = [pid for pid in pids if pid and psutil.pid_exists(pid)]
    return f" by process {known[0]} ({psutil.Process(known[0]).name()})" if known else ""


def _check_command(service: Service) -> None:
    if not service.daemon.same_command():
        raise ServiceError(
            f"{service.title} runs already with other settings ({service.daemon.record}); "
            f"`lungseg down` stops it"
        )


def _start(settings: Settings, missing: Sequence[Service]) -> None:
    """Start the services and wait for those needed; if one of these fails, none stays."""
    variables = environment(settings)
    airflow = [service for service in missing if service.daemon.name.startswith("airflow")]
    others = [service for service in missing if service not in airflow]
    begun: dict[Service, psutil.Process] = {}
    logger.info("starting %s", ", ".join(service.title for service in missing))
    try:
        for service in others:  # MLflow imports while Airflow's database is made
            begun[service] = service.daemon.start(variables)
        if airflow:
            airflow_home.prepare(settings, variables)
        for service in airflow:
            if service.needed:
                begun[service] = service.daemon.start(variables)
        _await(begun)
    except BaseException:
        processes = [process for process in begun.values() if alive(process)]
        end([p for process in processes for p in (*process.children(True), process)], patience=5)
        raise
    for service in airflow:
        if not service.needed:
            service.daemon.start(variables)


def _await(begun: Mapping[Service, psutil.Process]) -> None:
    """Return when all answer, telling each; raise ServiceError when one ended or time is up."""
    started = time.monotonic()
    waiting = dict(begun)
    while waiting:
        for service, process in list(waiting.items()):
            if not alive(process):
                raise ServiceError(_obituary(service, process))
            if service.healthy(process):
                del waiting[service]
                seconds = time.monotonic() - started
                logger.info("%s is ready after %.0f s %s", service.title, seconds, service.url)
        if waiting and time.monotonic() - started > PATIENCE:
            service = next(iter(waiting))
            raise ServiceError(
                f"{service.title} does not answer after {PATIENCE} s; see {service.daemon.log}"
            )
        time.sleep(0.2)


def _obituary(service: Service, process: psutil.Process) -> str:
    code = process.wait(timeout=5)
    return (
        f"{service.title} ended while starting (exit code {code}): "
        f"{service.daemon.telling_line()}; see {service.daemon.log}"
    )


def _make_pools(settings: Settings) -> None:
    """Also where Airflow runs already: a task whose pool is missing waits without a word."""
    with log_in(settings) as airflow:
        for name, (slots, description) in pool_sizes(max(1, listed_cards())).items():
            airflow.ensure_pool(name, slots, description)
