"""The real MLflow and Airflow, with a stand-in for `lungseg` that makes every task quick."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from rich.console import Console

from pipeline.deployment.check import check_deployment
from pipeline.deployment.initialise import initialise
from pipeline.run import follow
from pipeline.services import control as services
from pipeline.services.airflow import log_in
from pipeline.services.daemon import descendants
from pipeline.settings import Settings
from pipeline.workspace.workspace import RunRequest
from tests.conftest import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LUNGSEG = """#!/bin/sh
# split dies once, and augment once kills the Airflow process that runs it
once() { [ ! -e "$LUNGSEG_HOME/$1" ] && touch "$LUNGSEG_HOME/$1"; }
refused=$(echo "$LUNGSEG_OVERRIDES" | grep min_dice)
echo "task $2 of $LUNGSEG_RUN_ID with $MLFLOW_TRACKING_URI"
case "$2" in
split) [ -z "$refused" ] && once split && kill -9 $$ ;;
augment) [ -z "$refused" ] && once augment && kill -9 $PPID ;;
esac
status=ran; more=; code=0; model='"version": "3", "metrics": {"dice": 0.95, "accuracy": 0.98}'
case "$2$refused" in
gate) status=passed ;;
gate*) status=refused; code=2; more=', "reason": "dice 0.8 is below 0.9"' ;;
promote) status=released; more=', '$model', "event": {"record": 1, '$model'}' ;;
promote*) status=refused; code=2; more=', "reason": "refused: dice"' ;;
esac
printf '{"stage": "%s", "status": "%s", "seconds": 0.1, "run_id": null%s}\\n' "$2" $status "$more"
exit $code
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    home = tmp_path_factory.mktemp("services")
    script = home / "lungseg"
    script.write_text(LUNGSEG)
    script.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "LUNGSEG_AIRFLOW_URL", "LUNGSEG_AIRFLOW_PASSWORD"):
            patch.delenv(name, raising=False)
        patch.setenv("LUNGSEG_BIN", str(script))
        patch.setenv("LUNGSEG_SCHEDULE", "none")
        settings = Settings(
            repo=str(Path(__file__).parents[2]),
            home=home,
            mlflow_port=free_port(),
            airflow_port=free_port(),
        )
        try:
            services.up(settings)
            yield settings
        finally:
            services.down(settings)


def test_both_answer_and_a_second_up_reuses_them(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    before = [row.pid for row in services.status(settings)]

    rows = services.up(settings)

    assert {row.state for row in rows} <= {"running", "starting"}
    assert [row.pid for row in rows] == before
    assert "everything runs already" in caplog.text


def test_mlflow_answers_only_to_names_that_it_knows(settings: Settings) -> None:
    url = f"{settings.tracking_uri}/api/2.0/mlflow/experiments/search?max_results=1"

    codes = [
        httpx.get(url, headers={"Host": host}).status_code
        for host in (f"127.0.0.1:{settings.mlflow_port}", "mlflow:5000", "attacker.example")
    ]

    assert codes == [200, 200, 403]


def test_runs_end_in_a_release_and_a_refusal_through_killed_tasks(settings: Settings) -> None:
    released = follow.start(settings, RunRequest(""))
    refused = follow.start(settings, RunRequest("", overrides=("gate.min_dice=0.9",)))
    console = Console(file=io.StringIO(), width=200)

    assert follow.follow(settings, released, console) == 0
    assert follow.follow(settings, refused, console) == 2

    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "released: version 3, accuracy 0.9800, dice 0.9500" in text
    assert "refused by the gate: dice 0.8 is below 0.9" in text
    assert "split: retry" in text
    with log_in(settings) as airflow:
        tries = {name: task.tries for name, task in airflow.tasks("retrain", released).items()}
        assert tries["split"] == tries["augment"] == 2
        assert airflow.tasks("retrain", refused)["promote"].state == "skipped"
        [event] = airflow.asset_events()
    assert event["name"] == "lung-segmentation"
    metrics = {"dice": 0.95, "accuracy": 0.98}
    assert event["extra"] == {"record": 1, "version": "3", "metrics": metrics}
    assert event["source_run_id"] == released


def test_the_doctor_finds_them_well_and_names_a_pool_that_is_missing(settings: Settings) -> None:
    made = list(initialise(settings, 1))
    states = {one.name: one for one in check_deployment(settings, "all")}
    with log_in(settings) as airflow:
        airflow._ask("DELETE", "pools/release")
    broken = {one.name: one for one in check_deployment(settings, "control")}
    again = list(initialise(settings, 1))

    assert made[:2] == ["pool gpu: was there, 1 slots", "pool release: was there, 1 slots"]
    assert {one for one in states.values() if one.state in ("problem", "no answer")} == set()
    looked_at = {name for name, one in states.items() if one.state == "ok"}
    assert looked_at >= {"git", "MLflow", "Airflow", "Airflow's parts", "DAGs", "pools", "clock"}
    assert broken["pools"].text.startswith("no pool release, for which tasks would wait for ever")
    assert again[1] == "pool release: made, 1 slots"


def test_down_leaves_no_process(settings: Settings) -> None:
    running = descendants(settings.home)
    assert len(running) > 4

    services.down(settings)

    assert descendants(settings.home) == []
    sessions = {process.pid for process in running}
    left = [p for p in psutil.process_iter() if os.getsid(p.pid) in sessions and p.is_running()]
    assert [p for p in left if p.status() != psutil.STATUS_ZOMBIE] == []
    assert {row.state for row in services.status(settings)} == {"stopped"}
