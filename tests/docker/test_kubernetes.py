"""docker/kubernetes/: valid objects, as the table of services says; the chart's values by name."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.services.airflow_settings import EVERYWHERE, SEVERAL_HOSTS, as_environment
from pipeline.services.local import read_variables
from pipeline.services.roles import AIRFLOW, MLFLOW, WORKERS, Answers, Role, Succeeds
from tests.conftest import PROJECT

Objects = dict[str, Any]

FOLDER = PROJECT / "docker" / "kubernetes"
VALUES = FOLDER / "airflow-values.yaml"
FILES = sorted(path for path in FOLDER.glob("*.yaml") if path != VALUES)


def complaints(*paths: Path) -> str:
    program = Path(sys.executable).with_name("kubernetes-validate")
    command = [program, "--strict", "--quiet", *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else ""


def read_objects() -> Objects:
    """Every object as `kind/name`."""
    found = {}
    for path in FILES:
        for one in yaml.safe_load_all(path.read_text()):
            found[f"{one['kind']}/{one['metadata']['name']}"] = one
    return found


@pytest.fixture(scope="module")
def objects() -> Objects:
    return read_objects()


def pods(objects: Objects) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, one in objects.items():
        if one["kind"] == "Pod":
            yield name, one["spec"]
        elif "template" in one.get("spec", {}):
            yield name, one["spec"]["template"]["spec"]


def settings_of(objects: Objects) -> dict[str, str]:
    settings: dict[str, str] = objects["ConfigMap/lungseg-settings"]["data"]
    return settings


def variables(objects: Objects, container: dict[str, Any]) -> dict[str, str]:
    own = {one["name"]: one["value"] for one in container.get("env", [])}
    return {**(settings_of(objects) if "envFrom" in container else {}), **own}


def named(given: dict[str, str]) -> set[str]:
    """The variables, those too that are given by file or by a command."""
    return {re.sub("_(CMD|FILE)$", "", name) for name in given} | given.keys()


def of_role(objects: Objects, role: Role) -> dict[str, Any] | None:
    for name, spec in pods(objects):
        if name.partition("/")[2] == role.name:
            container: dict[str, Any] = spec["containers"][0]
            return container
    return None


def differences_from_the_table(objects: Objects) -> list[str]:
    """Where commands, variables, ports or probes are not those of the table of services."""
    found = []
    for role in (MLFLOW, *WORKERS):
        container = of_role(objects, role)
        if container is None:
            found.append(f"{role.name}: missing")
            continue
        command = list(role.command_line("0.0.0.0", role.port))  # noqa: S104 (inside a container)
        if container["args"][: len(command)] != command:
            found.append(f"{role.name}: runs {container['args']}")
        if [port["containerPort"] for port in container["ports"]] != [role.port]:
            found.append(f"{role.name}: not port {role.port}")
        probe = container["livenessProbe"]["exec"]["command"]
        if probe != health_command(role):
            found.append(f"{role.name}: is asked by {probe}")
        given = named(variables(objects, container))
        found += [f"{role.name}: no {name}" for name in role.environment if name not in given]
    return found


def health_command(role: Role) -> list[str]:
    match role.health:
        case Answers(paths):
            urls = [f"http://127.0.0.1:{role.port}{path}" for path in paths]
            return ["healthcheck.py", "answers", *urls]
        case Succeeds(command):
            return command.split()
    return []


def differences_from_the_settings(objects: Objects) -> list[str]:
    """Settings of Airflow that are not shared, but for the name of a pod, which nobody resolves."""
    given = settings_of(objects)
    shared = as_environment(EVERYWHERE, SEVERAL_HOSTS)
    del shared["AIRFLOW__CORE__HOSTNAME_CALLABLE"]
    return [f"{key}={given.get(key)}" for key in shared if given.get(key) != shared[key]]


def secrets_in_the_open(objects: Objects) -> list[str]:
    """Objects of kind Secret, values that should be in a file, and files that no volume has."""
    found = [name for name in objects if name.startswith("Secret/")]
    for name, spec in pods(objects):
        given = {
            f"/etc/lungseg/{item['path']}"
            for volume in spec["volumes"]
            for item in volume.get("secret", {}).get("items", [])
        }
        container = spec["containers"][0]
        texts = [*variables(objects, container).values()]
        used = set(re.findall(r"/etc/lungseg/[\w.]+", " ".join(texts)))
        if "lungseg-init" in name:  # it asks no worker for logs
            used.discard("/etc/lungseg/api_secret_key")
        found += [f"{name}: {path} is not given" for path in sorted(used - given)]
        for key, value in variables(objects, container).items():
            if re.search("PASSWORD|SECRET|KEY$", key) and "/etc/lungseg/" not in value:
                found.append(f"{name}: {key} is {value}")
    return found


def weak_pods(objects: Objects) -> list[str]:
    """Pods that run as root, may do too much, or have no limits."""
    found = []
    for name, spec in pods(objects):
        [container] = spec["containers"]
        fence = container["securityContext"]
        resources = container["resources"]
        rules = {
            "root": spec["securityContext"].get("runAsNonRoot") is True,
            "token": spec.get("automountServiceAccountToken") is False,
            "capabilities": fence.get("capabilities") == {"drop": ["ALL"]},
            "escalation": fence.get("allowPrivilegeEscalation") is False,
            "writable": fence.get("readOnlyRootFilesystem") is True,
            "limits": {"cpu", "memory"}
            <= resources["limits"].keys() & resources["requests"].keys(),
            "latest": re.search(r":\d+\.\d+\.\d+$", container["image"]) is not None,
        }
        found += [f"{name}: {rule}" for rule, kept in rules.items() if not kept]
    return found


CHECKS = (
    differences_from_the_table,
    differences_from_the_settings,
    secrets_in_the_open,
    weak_pods,
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_objects_have_no_problem(
    check: Callable[[Objects], list[str]], objects: Objects
) -> None:
    assert check(objects) == []


def worker(objects: Objects) -> dict[str, Any]:
    container = of_role(objects, WORKERS[1])
    assert container
    return container


FAULTS: tuple[tuple[Callable[[Objects], list[str]], str, Callable[[Objects], object]], ...] = (
    (differences_from_the_table, "mlflow: missing", lambda o: o.pop("Deployment/mlflow")),
    (
        differences_from_the_table,
        "worker-gpu: runs",
        lambda o: worker(o)["args"].__setitem__(-1, "default"),
    ),
    (
        differences_from_the_table,
        "worker-gpu: not port 8793",
        lambda o: worker(o)["ports"][0].update(containerPort=8794),
    ),
    (
        differences_from_the_table,
        "worker-cpu: no LUNGSEG_REMOTE",
        lambda o: settings_of(o).pop("LUNGSEG_REMOTE"),
    ),
    (
        differences_from_the_table,
        "worker-gpu: is asked by",
        lambda o: worker(o)["livenessProbe"].update(exec={"command": ["true"]}),
    ),
    (
        differences_from_the_settings,
        "HEARTBEAT_TIMEOUT=300",
        lambda o: settings_of(o).update(AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT="300"),
    ),
    (
        secrets_in_the_open,
        "MLFLOW_TRACKING_PASSWORD is admin",
        lambda o: settings_of(o).update(MLFLOW_TRACKING_PASSWORD="admin"),
    ),
    (
        secrets_in_the_open,
        "StatefulSet/worker-gpu: /etc/lungseg/signing_key is not given",
        lambda o: o["StatefulSet/worker-gpu"]["spec"]["template"]["spec"]["volumes"].pop(1),
    ),
    (
        weak_pods,
        "StatefulSet/worker-gpu: writable",
        lambda o: worker(o)["securityContext"].pop("readOnlyRootFilesystem"),
    ),
    (weak_pods, "worker-gpu: limits", lambda o: worker(o)["resources"]["limits"].pop("memory")),
    (weak_pods, "worker-gpu: latest", lambda o: worker(o).update(image="lungseg:latest")),
)


@pytest.mark.parametrize(("check", "problem", "plant"), FAULTS, ids=[fault[1] for fault in FAULTS])
def test_a_planted_fault_is_found(
    check: Callable[[Objects], list[str]],
    problem: str,
    plant: Callable[[Objects], object],
    objects: Objects,
) -> None:
    faulty = copy.deepcopy(objects)

    plant(faulty)

    assert [one for one in check(faulty) if problem in one]


def test_the_objects_are_valid_and_a_planted_key_is_not(tmp_path: Path) -> None:
    text = (FOLDER / "workers.yaml").read_text().replace("  replicas: 1\n", "  replica: 1\n", 1)
    (tmp_path / "faulty.yaml").write_text(text)

    assert complaints(*FILES) == ""
    assert "replica" in complaints(tmp_path / "faulty.yaml")


def test_only_gpu_workers_ask_for_a_card(objects: Objects) -> None:
    asking = [
        name
        for name, spec in pods(objects)
        if "nvidia.com/gpu" in spec["containers"][0]["resources"]["limits"]
    ]

    assert asking == ["Pod/lungseg-task", "StatefulSet/worker-gpu"]


def test_mlflow_may_do_what_its_settings_say(objects: Objects) -> None:
    container = of_role(objects, MLFLOW)
    assert container
    given = variables(objects, container)

    expected = read_variables(PROJECT / "mlflow" / "server.env")
    assert {name: given.get(name) for name in expected} == expected


def test_the_charts_processes_are_told_what_the_table_asks(objects: Objects) -> None:
    values = yaml.safe_load(VALUES.read_text())
    given = named({one["name"]: one["value"] for one in values["env"]} | settings_of(objects))

    assert [name for role in AIRFLOW for name in role.environment if name not in given] == []
    assert "lungseg-settings" in values["extraEnvFrom"]
    assert values["workers"]["replicas"] == 0
    made_by_chart = values["enableBuiltInSecretEnvVars"]
    assert [name for name in made_by_chart if made_by_chart[name]] == []
