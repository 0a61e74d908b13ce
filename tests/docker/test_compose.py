"""docker/compose.yaml: valid, as the table of services says, and closed to whom it does not serve.

Each check is a function that gives the problems of a stack; each is shown to find a planted one.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.services.airflow_settings import EVERYWHERE, SEVERAL_HOSTS, as_environment
from pipeline.services.local import read_variables
from pipeline.services.roles import ELSEWHERE, MLFLOW, ROLES, WORKERS, Answers, Beats, Role
from tests.conftest import PROJECT

Stack = dict[str, Any]

COMPOSE = PROJECT / "docker" / "compose.yaml"
PROGRAM = Path(sys.executable).with_name("docker-compose")
GIVEN = {"LUNGSEG_REPO": "https://git.example.org/lungseg.git", "LUNGSEG_SECRETS": "./secrets"}
PUBLISHED = {"airflow-server": 8080, "mlflow": 5000}
BUILT = {
    role.name: "mlflow" if role is MLFLOW else role.name if role in WORKERS else "airflow"
    for role in ROLES
    if role not in ELSEWHERE
} | {"worker-cpu": "worker", "init": "worker"}
"""The target of docker/Dockerfile that each service runs."""


def compose(
    *command: str, file: Path = COMPOSE, **variables: str
) -> subprocess.CompletedProcess[str]:
    """docker-compose on the file with no variable but these; it needs no Docker engine."""
    return subprocess.run(
        [PROGRAM, "--file", file, "--profile", "*", *command],
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def read_stack(**variables: str) -> Stack:
    done = compose("config", "--format", "json", **GIVEN, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    stack: Stack = json.loads(done.stdout)
    return stack


@pytest.fixture(scope="module")
def stack() -> Stack:
    return read_stack()


def named(service: dict[str, Any]) -> set[str]:
    """Variables that a service is given, whether by value, by file or by a command."""
    return {re.sub("_(CMD|FILE)$", "", name) for name in service.get("environment", {})} | set(
        service.get("environment", {})
    )


def differences_from_the_table(stack: Stack) -> list[str]:
    """Where commands, variables, ports or health checks are not those of the table of services."""
    found = []
    for role in ROLES:
        service = stack["services"].get(role.name)
        if service is None:
            found.append(f"{role.name}: missing")
            continue
        command = list(role.command_line("0.0.0.0", role.port))  # noqa: S104 (inside a container)
        given = service["command"] or []
        if role.name == "worker-cpu":  # without a GPU it serves both queues
            command[-1] = "default,gpu"
        if command and given[: len(command)] != command:
            found.append(f"{role.name}: runs {given}")
        found += [
            f"{role.name}: no {name}" for name in role.environment if name not in named(service)
        ]
        check = service["healthcheck"]["test"][1:]
        if health_command(role) not in (check, check[-1:]):
            found.append(f"{role.name}: is asked by {check}")
    return found


def health_command(role: Role) -> list[str]:
    match role.health:
        case Beats(component):
            return ["healthcheck.py", "beats", "http://airflow-server:8080", component]
        case Answers(paths):
            urls = [f"http://127.0.0.1:{role.port}{path}" for path in paths]
            return urls if role in ELSEWHERE else ["healthcheck.py", "answers", *urls]
        case other:
            return [other.command] if role in ELSEWHERE else other.command.split()


def differences_from_the_settings(stack: Stack) -> list[str]:
    """Settings of Airflow that are not those which every deployment shares."""
    shared = as_environment(EVERYWHERE, SEVERAL_HOSTS)
    return [
        f"{name}: {key}={service['environment'].get(key)}"
        for name, service in stack["services"].items()
        if name.startswith(("airflow-", "worker-")) or name == "init"
        for key, value in shared.items()
        if service["environment"].get(key) != value
    ]


def open_ports(stack: Stack) -> list[str]:
    """Ports that are published to others than this host, or that nobody needs."""
    return [
        f"{name}: {port.get('host_ip', 'every address')}:{port['target']}"
        for name, service in stack["services"].items()
        for port in service.get("ports", [])
        if port.get("host_ip") != "127.0.0.1" or PUBLISHED.get(name) != port["target"]
    ]


SECRET = re.compile("PASSWORD|SECRET|KEY|TOKEN|CONN|BROKER_URL|BACKEND|CREDENTIAL", re.IGNORECASE)


def secrets_in_the_open(stack: Stack) -> list[str]:
    """Values that should be in a file, and files that a service is not given or no file is of."""
    found = []
    for name, service in stack["services"].items():
        files = {f"/run/secrets/{one['source']}" for one in service.get("secrets", [])}
        used = set()
        for key, value in service.get("environment", {}).items():
            used |= set(re.findall(r"/run/secrets/[\w.]+", value))
            if SECRET.search(key) and not re.fullmatch(r"(cat )?/run/secrets/[\w.]+", value):
                found.append(f"{name}: {key} is {value}")
        used |= set(re.findall(r"/run/secrets/[\w.]+", " ".join(service["command"] or [])))
        used |= files if name == "postgres" else set()  # its script names them
        found += [f"{name}: {path} is not given" for path in sorted(used - files)]
        found += [f"{name}: {path} is not used" for path in sorted(files - used)]
    text = json.dumps(stack)
    found += [
        f"a password in a URL: {url}" for url in re.findall(r"\w+://[^/\s\"]*:[^/\s\"]*@", text)
    ]
    return found + [name for name, one in stack["secrets"].items() if not one.get("file")]


def weak_services(stack: Stack) -> list[str]:
    """Services without a restart rule, limits, a health check, a fence, or the right image."""
    found = []
    for name, service in stack["services"].items():
        once = name == "init"
        limits = service["deploy"]["resources"].get("limits", {})
        rules = {
            "restart": service.get("restart") == ("no" if once else "unless-stopped"),
            "limits": {"cpus", "memory"} <= limits.keys(),
            "health": once or bool(service.get("healthcheck", {}).get("test")),
            "read_only": service.get("read_only"),
            "cap_drop": service.get("cap_drop") == ["ALL"] and not service.get("cap_add"),
            "privileges": "no-new-privileges:true" in service.get("security_opt", []),
            "target": service.get("build", {}).get("target") in (BUILT.get(name), None),
            "image": name not in BUILT or service["image"] == f"lungseg-{BUILT[name]}:latest",
            "user": name in BUILT or service.get("user", "root") not in ("root", "0"),
        }
        found += [f"{name}: {rule}" for rule, kept in rules.items() if not kept]
    return found


REACHED_BY = {
    "postgres": {"mlflow", "init"}
    | {role.name for role in ROLES if role.name.startswith("airflow-")},
    "redis": {"airflow-scheduler", "init", "worker-cpu", "worker-gpu"},
    "storage": {"mlflow", "init", "worker-cpu", "worker-gpu"},
}
"""Who may open a connection to what keeps data."""


def wrong_networks(stack: Stack) -> list[str]:
    """Who reaches a service that keeps data, and shall not; and networks that lead outside."""
    services = stack["services"]
    found = []
    for target, allowed in REACHED_BY.items():
        own = services[target]["networks"].keys()
        others = {name for name, one in services.items() if own & one["networks"].keys()} - {target}
        found += [f"{target} and {name}" for name in sorted(others ^ allowed)]
        found += [
            f"{net} leads outside" for net in own if not stack["networks"][net].get("internal")
        ]
    return found


CHECKS = (
    differences_from_the_table,
    differences_from_the_settings,
    open_ports,
    secrets_in_the_open,
    weak_services,
    wrong_networks,
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_stack_has_no_problem(check: Callable[[Stack], list[str]], stack: Stack) -> None:
    assert check(stack) == []


def of(name: str) -> Callable[[Stack], dict[str, Any]]:
    return lambda stack: stack["services"][name]


FAULTS: tuple[tuple[Callable[[Stack], list[str]], str, Callable[[Stack], object]], ...] = (
    (differences_from_the_table, "redis: missing", lambda s: s["services"].pop("redis")),
    (
        differences_from_the_table,
        "airflow-server: runs",
        lambda s: of("airflow-server")(s)["command"].__setitem__(-1, "8081"),
    ),
    (
        differences_from_the_table,
        "worker-gpu: no MLFLOW_TRACKING_URI",
        lambda s: of("worker-gpu")(s)["environment"].pop("MLFLOW_TRACKING_URI"),
    ),
    (
        differences_from_the_table,
        "airflow-triggerer: is asked by",
        lambda s: of("airflow-triggerer")(s)["healthcheck"]["test"].__setitem__(-1, "scheduler"),
    ),
    (
        differences_from_the_settings,
        "VISIBILITY_TIMEOUT=3600",
        lambda s: of("worker-cpu")(s)["environment"].update(
            AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT="3600"
        ),
    ),
    (open_ports, "mlflow: every address", lambda s: of("mlflow")(s)["ports"][0].pop("host_ip")),
    (
        open_ports,
        "redis: 127.0.0.1:6379",
        lambda s: of("redis")(s).update(ports=[{"host_ip": "127.0.0.1", "target": 6379}]),
    ),
    (
        secrets_in_the_open,
        "postgres: POSTGRES_PASSWORD is admin",
        lambda s: of("postgres")(s)["environment"].update(POSTGRES_PASSWORD="admin"),
    ),
    (
        secrets_in_the_open,
        "a password in a URL",
        lambda s: of("mlflow")(s)["command"].append("postgresql://mlflow:mlflow@postgres/mlflow"),
    ),
    (
        secrets_in_the_open,
        "redis: /run/secrets/redis.conf is not given",
        lambda s: of("redis")(s).pop("secrets"),
    ),
    (
        secrets_in_the_open,
        "worker-cpu: /run/secrets/jwt_secret is not used",
        lambda s: of("worker-cpu")(s)["secrets"].append({"source": "jwt_secret"}),
    ),
    (weak_services, "mlflow: restart", lambda s: of("mlflow")(s).pop("restart")),
    (weak_services, "redis: limits", lambda s: of("redis")(s)["deploy"]["resources"].clear()),
    (weak_services, "storage: health", lambda s: of("storage")(s).pop("healthcheck")),
    (weak_services, "postgres: user", lambda s: of("postgres")(s).pop("user")),
    (weak_services, "init: cap_drop", lambda s: of("init")(s).pop("cap_drop")),
    (weak_services, "worker-gpu: image", lambda s: of("worker-gpu")(s).update(image="other")),
    (
        wrong_networks,
        "postgres and worker-cpu",
        lambda s: of("worker-cpu")(s)["networks"].update(database=None),
    ),
    (wrong_networks, "storage leads outside", lambda s: s["networks"]["storage"].clear()),
)


@pytest.mark.parametrize(("check", "problem", "plant"), FAULTS, ids=[fault[1] for fault in FAULTS])
def test_a_planted_fault_is_found(
    check: Callable[[Stack], list[str]],
    problem: str,
    plant: Callable[[Stack], object],
    stack: Stack,
) -> None:
    faulty = copy.deepcopy(stack)

    plant(faulty)

    assert [one for one in check(faulty) if problem in one]


def test_an_unknown_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "docker").mkdir()
    shutil.copytree(PROJECT / "mlflow", tmp_path / "mlflow")
    text = COMPOSE.read_text().replace("    user: redis\n", "    user: redis\n    usr: redis\n")
    (tmp_path / "docker" / "compose.yaml").write_text(text)

    done = compose("config", "-q", file=tmp_path / "docker" / "compose.yaml", **GIVEN)

    assert done.returncode != 0
    assert "usr" in done.stderr


@pytest.mark.parametrize(
    ("missing", "remedy"),
    [("LUNGSEG_SECRETS", "run docker/make_secrets.sh"), ("LUNGSEG_REPO", "git URL")],
)
def test_without_secrets_or_a_repository_one_line_says_what_to_do(
    missing: str, remedy: str
) -> None:
    done = compose("config", **{key: GIVEN[key] for key in GIVEN if key != missing})

    assert done.returncode != 0
    [line] = done.stderr.splitlines()
    assert missing in line
    assert remedy in line


def test_mlflow_answers_to_the_names_that_its_own_settings_give(stack: Stack) -> None:
    names = read_variables(PROJECT / "mlflow" / "server.env")["MLFLOW_SERVER_ALLOWED_HOSTS"]

    assert of("mlflow")(stack)["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"] == names


def test_only_a_variable_opens_the_ports_to_others() -> None:
    opened = read_stack(LUNGSEG_BIND="0.0.0.0")  # noqa: S104 (what the test is about)

    assert open_ports(opened) == ["airflow-server: 0.0.0.0:8080", "mlflow: 0.0.0.0:5000"]


def test_the_documentation_lists_every_service_and_what_it_needs() -> None:
    rows = (PROJECT / "docs" / "deployment.md").read_text().splitlines()

    for role in set(ROLES) - set(ELSEWHERE):
        [row] = [row for row in rows if row.startswith("|") and f"(`{role.name}`)" in row]
        assert " ".join(role.command).replace("{port}", str(role.port)) in row
        assert set(re.findall(r"`([A-Z][A-Z0-9_]+)`", row)) == set(role.environment)


def test_the_documentation_lists_the_variables_of_the_stack() -> None:
    asked = set(re.findall(r"\$\{(LUNGSEG_\w+)", COMPOSE.read_text()))
    pages = "".join(
        (PROJECT / "docs" / name).read_text() for name in ("deployment.md", "settings.md")
    )

    assert [name for name in sorted(asked) if f"`{name}`" not in pages] == []


def test_the_settings_that_dags_read_are_handed_on(stack: Stack) -> None:
    texts = [path.read_text() for path in (PROJECT / "dags").glob("*.py")]
    read = set(re.findall(r'environ\.get\("(LUNGSEG_\w+)"', "".join(texts)))
    # Where people reach Airflow is Airflow's own setting there, and others are of the image.
    of_others = {"LUNGSEG_AIRFLOW_URL", "LUNGSEG_BIN", "LUNGSEG_HOME"}

    assert read - of_others <= stack["services"]["airflow-dag-processor"]["environment"].keys()


def test_the_documented_backup_has_the_releases_that_a_worker_wrote_down(stack: Stack) -> None:
    page = (PROJECT / "docs" / "maintenance.md").read_text()
    [(volume, place)] = re.findall(r"--volume (\w[\w-]+):(\S+):ro init", page)

    worker = stack["services"]["worker-cpu"]

    assert stack["volumes"]["worker-cpu"]["name"] == volume
    assert worker["environment"]["LUNGSEG_HOME"] == place
    assert [one["source"] for one in worker["volumes"] if one["target"] == place] == ["worker-cpu"]
    assert stack["services"]["init"]["environment"]["LUNGSEG_HOME"] == place
