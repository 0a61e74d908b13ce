from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.conftest import git
from tests.dags.reading import ROOT, write_project

PINNED, NEWER = "a" * 40, "b" * 40

RUN_TASKS = """
import json, os, sys
from pathlib import Path
from types import SimpleNamespace
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag
from airflow.sdk.bases.operator import ExecutorSafeguard
ExecutorSafeguard.test_mode = True
version = sys.argv[1] or None
bundle = DagBundlesManager().get_bundle("lungseg", version=version)
bundle.initialize()
bag = BundleDagBag(bundle.path, bundle_path=bundle.path, bundle_name="lungseg")
dag = bag.dags["retrain"]
run = SimpleNamespace(consumed_asset_events=[], triggering_user_name=None, run_type="manual")
ti = SimpleNamespace(bundle_instance=bundle, xcom_push=lambda key, value: None)
context = {"ti": ti, "dag_run": run, "run_id": "r1"}
task = dag.task_dict["a"]
task.render_template_fields({**context, "params": dag.params.dump()})
answer = {"errors": bag.import_errors, "stages": sorted(dag.task_dict), "path": str(bundle.path)}
try:
    answer["report"] = task.execute(context)
except Exception as error:
    answer["error"] = f"{type(error).__name__}: {error}"
print(json.dumps(answer))
"""


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A bare repository of a project with the stage a, later also b; and both commits."""
    folder = tmp_path_factory.mktemp("remote")
    project = folder / "project"
    shutil.copytree(ROOT / "dags", project / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    git(folder, "init", "--quiet", "--initial-branch=main", "project")
    commits = []
    for stages in ({"a": {"cmd": "x"}}, {"a": {"cmd": "x"}, "b": {"cmd": "x"}}):
        write_project(project, stages)
        git(project, "add", "--all")
        git(project, "commit", "--quiet", "--message=Change the stages")
        commits.append(git(project, "rev-parse", "HEAD"))
    git(folder, "clone", "--quiet", "--bare", "project", "project.git")
    return folder / "project.git", commits[0], commits[1]


def run_task(bare: Path, tmp_path: Path, version: str, **environment: str) -> dict[str, Any]:
    """What Airflow's worker makes of the task a when the DAGs come from the bare repository."""
    program = tmp_path / "lungseg"
    said = '"repo": "%s", "revision": "%s", "folder": "%s"'
    program.write_text(
        f'#!/bin/sh\nprintf \'{{"stage": "a", "status": "ran", {said}}}\\n\' '
        '"$LUNGSEG_REPO" "$LUNGSEG_REVISION" "$PWD"\n'
    )
    program.chmod(0o755)
    options = {"tracking_ref": "main", "subdir": "dags", "repo_url": bare.as_uri()}
    bundle = {
        "name": "lungseg",
        "classpath": "airflow.providers.git.bundles.git.GitDagBundle",
        "kwargs": options,
    }
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("LUNGSEG", "AIRFLOW"))}
    child = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUN_TASKS, version],
        cwd=tmp_path,
        env={
            **inherited,
            "AIRFLOW_HOME": str(tmp_path / "airflow"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(tmp_path / "bundles"),
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([bundle]),
            "LUNGSEG_BIN": str(program),
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    answer: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    assert answer["errors"] == {}
    return answer


@pytest.mark.slow  # a process with Airflow and a clone by its git provider
def test_stages_and_code_of_a_run_are_of_the_commit_its_bundle_is_pinned_to(
    remote: tuple[Path, str, str], tmp_path: Path
) -> None:
    bare, first, _ = remote
    places = {"LUNGSEG_REPO": bare.as_uri(), "LUNGSEG_HOME": str(tmp_path / "home")}

    answer = run_task(bare, tmp_path, first, **places)

    assert not (Path(answer["path"]).parent / ".git").exists()
    assert answer["stages"] == ["a", "close", "gate", "promote"]
    report = answer["report"]
    assert (report["repo"], report["revision"]) == (bare.as_uri(), first)


@pytest.mark.slow  # a process with Airflow and a clone by its git provider
def test_stages_are_the_bundles_also_where_a_folder_is_run(
    remote: tuple[Path, str, str], tmp_path: Path
) -> None:
    bare, _, _ = remote
    write_project(tmp_path, {"other": {"cmd": "x"}})

    answer = run_task(bare, tmp_path, "", LUNGSEG_REPO=str(tmp_path))

    assert answer["stages"] == ["a", "b", "close", "gate", "promote"]
    expected = {"repo": str(tmp_path), "revision": "HEAD", "folder": str(tmp_path)}
    assert answer["report"] | expected == answer["report"]


@pytest.mark.slow  # a process with Airflow and a clone by its git provider
@pytest.mark.parametrize(
    ("environment", "named"),
    [({}, "LUNGSEG_REPO"), ({"LUNGSEG_REPO": "file:///nowhere"}, "LUNGSEG_HOME")],
)
def test_task_of_a_bundle_names_the_setting_that_it_lacks(
    remote: tuple[Path, str, str], tmp_path: Path, environment: dict[str, str], named: str
) -> None:
    bare, first, _ = remote

    answer = run_task(bare, tmp_path, first, **environment)

    assert answer["error"].startswith("AirflowFailException: ")
    assert f"set {named}" in answer["error"] or f"{named}: not set" in answer["error"]


def data_event(minute: int, payload: Any) -> SimpleNamespace:
    at = datetime(2026, 5, 4, 12, minute, tzinfo=UTC)
    return SimpleNamespace(timestamp=at, extra={"from_trigger": True, "payload": payload})


def context_of(version: str | None, *events: SimpleNamespace) -> dict[str, Any]:
    bundle = SimpleNamespace(version=version)
    run = SimpleNamespace(consumed_asset_events=list(events), run_type="manual")
    return {"ti": SimpleNamespace(bundle_instance=bundle), "dag_run": run}


@pytest.mark.parametrize(
    ("version", "events", "expected"),
    [
        (None, [], "HEAD"),
        ("2026-05-04", [], "HEAD"),  # of a bundle that is not git's
        (PINNED, [], PINNED),
        (PINNED, [data_event(1, {"commit": NEWER})], NEWER),
        (None, [data_event(2, {"commit": NEWER}), data_event(1, {"commit": PINNED})], NEWER),
        (PINNED, [data_event(1, "by hand"), data_event(2, {"commit": "--upload-pack"})], PINNED),
    ],
)
def test_run_is_of_the_commit_of_its_newest_data_else_of_its_bundle(
    operator_module: ModuleType,
    version: str | None,
    events: list[SimpleNamespace],
    expected: str,
) -> None:
    import lungseg_project

    assert lungseg_project.head_of_run(context_of(version, *events)) == expected


def test_run_of_a_backfill_is_of_the_newest_commit_of_its_date(operator_module: ModuleType) -> None:
    import lungseg_project

    context = context_of(PINNED)
    context["dag_run"].run_type = "backfill"
    context["dag_run"].logical_date = datetime(2026, 5, 4, tzinfo=UTC)

    assert lungseg_project.head_of_run(context) == "HEAD@{2026-05-04T00:00:00+00:00}"


@pytest.mark.parametrize(("asked", "given"), [("HEAD", PINNED), ("my-branch", "my-branch")])
def test_only_the_revision_head_is_the_commit_of_the_run(
    operator_module: ModuleType, lungseg: Any, asked: str, given: str
) -> None:
    lungseg('printf \'{"stage": "a", "status": "ran", "reason": "%s"}\\n\' "$LUNGSEG_REVISION"')
    operator = operator_module.LungsegOperator(task_id="a")
    operator.environment = {"LUNGSEG_REVISION": asked}

    assert operator.execute(context_of(PINNED))["reason"] == given
