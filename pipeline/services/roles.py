"""The one table of services: what a deployment consists of, on one host or on many.

`lungseg up` starts its processes from here. The tests compare docker/compose.yaml and
docker/kubernetes/ with it: a command, port, variable or health check is changed here first.
"""

from __future__ import annotations

from dataclasses import dataclass

LOG_PORT = 8793
"""Where a Celery worker hands out the logs of its tasks."""


@dataclass(frozen=True)
class Answers:
    """Healthy when each of the paths answers a GET with success, without a log-in."""

    paths: tuple[str, ...]


@dataclass(frozen=True)
class Beats:
    """Healthy when Airflow's health page knows a recent heartbeat of the component."""

    component: str


@dataclass(frozen=True)
class Succeeds:
    """Healthy when the command ends with 0; run by a shell where the service runs."""

    command: str


Health = Answers | Beats | Succeeds


@dataclass(frozen=True)
class Role:
    """A service: what starts it, what it must be told, where it listens, when it is healthy.

    `command` holds `{host}` and `{port}`; it is empty for what the stack takes from elsewhere.
    `environment` are the variables that it needs where `lungseg up` does not run it. Each may also
    be given as a file: ours and MLflow's log-in as NAME_FILE, Airflow's as NAME_CMD="cat FILE".
    `port` is 0 for a process that listens to nobody.
    """

    name: str
    title: str
    health: Health
    command: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    port: int = 0

    def command_line(self, host: str, port: int) -> tuple[str, ...]:
        """The command of a process that listens on the host and port."""
        return tuple(word.format(host=host, port=port) for word in self.command)


HEALTH_PAGE = "/api/v2/monitor/health"
"""Airflow's page of heartbeats, on the port of its server."""

_ALL_OF_AIRFLOW = (
    "AIRFLOW__CORE__EXECUTOR",
    "AIRFLOW__CORE__EXECUTION_API_SERVER_URL",
    "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST",
    "LUNGSEG_REPO",
)
_WITH_DATABASE = (
    *_ALL_OF_AIRFLOW,
    "AIRFLOW__CORE__FERNET_KEY",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
)
_QUEUES = ("AIRFLOW__CELERY__BROKER_URL", "AIRFLOW__CELERY__RESULT_BACKEND")
_WORKER = (
    *_ALL_OF_AIRFLOW,
    *_QUEUES,
    "AIRFLOW__API__SECRET_KEY",  # that of the server, which asks for logs
    "AIRFLOW__CELERY__WORKER_CONCURRENCY",
    "LUNGSEG_HOME",
    "LUNGSEG_REMOTE",
    "LUNGSEG_REMOTE_ENDPOINT",
    "LUNGSEG_SIGNING_KEY",
    "AWS_SHARED_CREDENTIALS_FILE",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
)
_WORKER_ANSWERS = Succeeds("healthcheck.py worker")  # docker/healthcheck.py: a ping by the broker

MLFLOW = Role(
    "mlflow",
    "MLflow",
    Answers(("/health",)),
    ("mlflow", "server", "--host", "{host}", "--port", "{port}", "--workers", "1"),
    (
        "AWS_SHARED_CREDENTIALS_FILE",
        "MLFLOW_ARTIFACTS_DESTINATION",
        "MLFLOW_AUTH_CONFIG_PATH",
        "MLFLOW_BACKEND_STORE_URI",
        "MLFLOW_FLASK_SERVER_SECRET_KEY",
        "MLFLOW_S3_ENDPOINT_URL",
        "MLFLOW_SERVER_ALLOWED_HOSTS",
    ),
    5000,
)
AIRFLOW = (
    Role(
        "airflow-server",
        "Airflow",
        Answers((HEALTH_PAGE, "/execution/health/ping")),
        ("airflow", "api-server", "--host", "{host}", "--port", "{port}"),
        (
            *_WITH_DATABASE,
            "AIRFLOW__API__SECRET_KEY",
            "AIRFLOW__API_AUTH__JWT_SECRET",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS",
        ),
        8080,
    ),
    Role(
        "airflow-scheduler",
        "Airflow scheduler",
        Beats("scheduler"),
        ("airflow", "scheduler", "--skip-serve-logs"),
        (*_WITH_DATABASE, *_QUEUES, "AIRFLOW__API_AUTH__JWT_SECRET"),
    ),
    Role(
        "airflow-dag-processor",
        "Airflow DAG processor",
        Beats("dag_processor"),
        ("airflow", "dag-processor"),
        _WITH_DATABASE,
    ),
    Role(
        "airflow-triggerer",
        "Airflow triggerer",
        Beats("triggerer"),
        ("airflow", "triggerer", "--skip-serve-logs"),
        _WITH_DATABASE,
    ),
)
"""What serves tasks; the server first. On one host its scheduler also runs them."""
WORKERS = (
    Role(
        "worker-cpu",
        "Worker",
        _WORKER_ANSWERS,
        ("airflow", "celery", "worker", "--queues", "default"),
        _WORKER,
        LOG_PORT,
    ),
    Role(
        "worker-gpu",
        "Worker with GPUs",
        _WORKER_ANSWERS,
        ("airflow", "celery", "worker", "--queues", "gpu"),
        _WORKER,
        LOG_PORT,
    ),
)
"""What runs tasks where there are several hosts; one that serves no database and no people.

Never with `--daemon`: that writes a file with its process id, and a container that was killed
starts with the same id again, which then counts as running already.
"""
ELSEWHERE = (
    Role("postgres", "PostgreSQL", Succeeds("pg_isready --username postgres"), port=5432),
    Role("redis", "Redis", Succeeds("redis-cli ping"), port=6379),
    Role("storage", "S3 storage", Answers(("/status",)), port=8333),
)
"""What several hosts need besides: databases, the queues of tasks, and a store of files."""
ROLES = (MLFLOW, *AIRFLOW, *WORKERS, *ELSEWHERE)
