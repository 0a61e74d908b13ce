"""A person's approval in the real Airflow, with a stand-in for `lungseg`."""

from __future__ import annotations

import io
import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest
from rich.console import Console

from pipeline.run import follow
from pipeline.services import control as services
from pipeline.services.airflow import Airflow, log_in
from pipeline.settings import Settings
from tests.conftest import free_port
from tests.dags.reading import ROOT, write_project
from tests.dags.web_hook import connect, web_hook

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LUNGSEG = r"""#!/bin/sh
# The answers and the log of releases are files beside this script. A stage once kills the Airflow
# process that runs it, the recording of the first approval meets a silent MLflow, and the first
# promotion dies once the model is released.
cd "$(dirname "$0")"
once() { [ ! -e "$1" ] && touch "$1"; }
say() { printf '{"stage": "%s", "status": "%s", "reason": "%s"%s}\n' $task "$1" "$2" "$3"; }
task=$2
echo "$LUNGSEG_RUN_ID $task $LUNGSEG_TRIGGERED_BY/$LUNGSEG_ALLOW_LOWERED" >> calls
answer=$(cat "$LUNGSEG_RUN_ID" 2> /dev/null)
case "$task$LUNGSEG_OVERRIDES" in
stage*fails*) echo 'error: params.yaml: bad'; exit 1 ;;
stage*dies*) once dead && kill -9 $PPID; say ran ;;
stage*) [ -e broken ] && { echo 'error: data: missing'; exit 1; }; say ran ;;
gate*) say passed '' ', "needs_approval": true, "summary": "|check|found|\\n|-|-|\\n|dice|0.9|"' ;;
approve*)
    echo "$LUNGSEG_ANSWER" > "$LUNGSEG_RUN_ID"
    case "$LUNGSEG_ANSWER" in
    *'"approve"'*) once silent && { echo 'error: MLflow is silent'; exit 75; }; say approved ;;
    *) say rejected 'not yet' ;;
    esac ;;
promote*)
    case "$answer" in *'"reject"'*) say refused 'a person rejected it'; exit 2 ;; esac
    grep -qs "$LUNGSEG_RUN_ID" releases || { echo "$LUNGSEG_RUN_ID" >> releases; kill -9 $$; }
    say unchanged 'this very model' ", \"event\": {\"record\": $(wc -l < releases)}" ;;
close*) say closed ;;
esac
"""


@dataclass(frozen=True)
class Site:
    """The services, and the runs that were started there by what becomes of them."""

    settings: Settings
    airflow: Airflow
    messages: list[dict[str, Any]]
    """What the team was sent."""
    runs: dict[str, str] = field(default_factory=dict)

    def start(self, what: str, **conf: Any) -> None:
        self.runs[what] = self.airflow.trigger("retrain", conf)

    def state(self, what: str, task: str) -> str | None:
        return self.airflow.tasks("retrain", self.runs[what])[task].state

    def change(self, what: str, path: str = "", **body: Any) -> None:
        """Change something of a run as the pages of Airflow do."""
        run = f"dags/retrain/dagRuns/{quote(self.runs[what])}"
        self.airflow._json("PATCH", run + path, json=body)

    def clear(self, what: str, task: str) -> None:
        """Let a task and those downstream of it be repeated."""
        body = {"dag_run_id": self.runs[what], "task_ids": [task], "include_downstream": True}
        body |= {"dry_run": False, "only_failed": False}
        self.airflow._json("POST", "dags/retrain/clearTaskInstances", json=body)

    def answer(self, what: str, option: str) -> None:
        """Answer soon after the run asks, though not faster than a person."""
        self.wait(what, "approve", "awaiting_input")
        time.sleep(
            3
        )  # the scheduler takes an answer within a second for a task that died, and retries
        path = "/taskInstances/approve/-1/hitlDetails"
        comment = {"comment": f"to {what}"}
        self.change(what, path, chosen_options=[option], params_input=comment)

    def wait(self, what: str, task: str, *states: str) -> None:
        deadline = time.monotonic() + 300
        while self.state(what, task) not in states:
            assert time.monotonic() < deadline, self.airflow.tasks("retrain", self.runs[what])
            time.sleep(0.5)

    def end(self, what: str) -> tuple[int, str]:
        """Follow the run to its end; the exit code and what was shown."""
        console = Console(file=io.StringIO(), width=200)
        code = follow.follow(self.settings, self.runs[what], console)
        return code, console.file.getvalue()  # type: ignore[attr-defined]

    def calls(self, what: str) -> Counter[str]:
        """How often each task of the run called `lungseg`."""
        lines = (self.settings.home / "calls").read_text().splitlines()
        return Counter(line.split()[1] for line in lines if line.startswith(self.runs[what]))

    def answered(self, what: str) -> dict[str, str]:
        """What `lungseg task approve` was given."""
        answer: dict[str, str] = json.loads((self.settings.home / self.runs[what]).read_text())
        assert answer.pop("at").endswith("+00:00")
        return answer


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("approval")
    project = home / "project"
    shutil.copytree(ROOT / "dags", project / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "mlflow", project / "mlflow")
    write_project(project, {"stage": {"cmd": "x"}}, approval="required")
    (home / "lungseg").write_text(LUNGSEG)
    (home / "lungseg").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch, web_hook() as (path, messages):
        connect(patch, path)
        for name in ("LUNGSEG_AIRFLOW_URL", "LUNGSEG_AIRFLOW_PASSWORD"):
            patch.delenv(name, raising=False)
        patch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.invalid")  # nothing here asks it
        patch.setenv("LUNGSEG_BIN", str(home / "lungseg"))
        patch.setenv("LUNGSEG_SCHEDULE", "none")
        patch.setenv("LUNGSEG_APPROVAL_HOURS", "0.015")
        settings = Settings(repo=str(project), home=home, airflow_port=free_port())
        try:
            services.up(settings)
            with log_in(settings) as airflow:
                made = Site(settings, airflow, messages)
                made.start("approved", allow_lowered="Dr Roe", overrides=["stage.dies=1"])
                made.answer("approved", "Approve")
                # Only now, so that nobody is asked for too long while another one is waited for.
                for what in ("rejected", "stopped", "forgotten"):
                    made.start(what, allow_lowered="Dr Roe")
                made.answer("rejected", "Reject")
                made.start("failed", overrides=["stage.fails=1"])
                yield made
        finally:
            services.down(settings)


def test_run_that_asks_names_the_page_and_marked_failed_it_is_closed_and_stays_failed(
    site: Site,
) -> None:
    site.wait("stopped", "approve", "awaiting_input")
    asking, shown = site.end("stopped")
    site.change("stopped", state="failed")

    code, text = site.end("stopped")

    page = f"{site.airflow.url}/dags/retrain/runs/{site.runs['stopped']}/tasks/approve"
    assert asking == 3
    assert f"waits for approval: answer at {page}/required_actions" in shown
    assert code == 1
    assert "failed: approve: " in text
    assert site.airflow.state("retrain", site.runs["stopped"]) == "failed"
    assert site.calls("stopped") == {"stage": 1, "gate": 1, "close": 1}


def test_approved_run_is_released_with_one_event_though_its_tasks_died(site: Site) -> None:
    code, text = site.end("approved")

    assert code == 0
    assert "unchanged: this very model" in text  # what the second try of the promotion found
    by = {"decision": "approve", "by": "admin", "comment": "to approved"}
    assert site.answered("approved") == by
    expected = {"stage": 2, "gate": 1, "approve": 2, "promote": 2, "close": 1}
    assert site.calls("approved") == expected  # and nobody was asked a second time
    tasks = site.airflow.tasks("retrain", site.runs["approved"])
    assert tasks["stage"].tries == 2
    [event] = site.airflow.asset_events()
    assert event["extra"] == {"record": 1}
    assert event["source_run_id"] == site.runs["approved"]


def test_promotion_that_is_cleared_and_repeated_emits_no_second_event(site: Site) -> None:
    site.clear("approved", "promote")
    site.wait("approved", "promote", "skipped")

    code, text = site.end("approved")

    assert code == 0
    assert "promote: unchanged" in text
    assert site.calls("approved")["promote"] == 3
    assert site.calls("approved")["close"] == 2
    assert len(site.airflow.asset_events()) == 1


@pytest.mark.parametrize(
    ("what", "answer"),
    [
        ("rejected", {"by": "admin", "comment": "to rejected"}),
        ("forgotten", {"by": "nobody (no answer within 0.015 hours)", "comment": ""}),
    ],
)
def test_rejected_run_ends_well_and_releases_nothing(
    site: Site, what: str, answer: dict[str, str]
) -> None:
    site.wait(what, "close", "success")

    code, text = site.end(what)

    assert code == 2
    assert "approve: rejected" in text
    assert "refused: a person rejected it" in text
    assert site.answered(what) == {"decision": "reject", **answer}
    assert site.airflow.state("retrain", site.runs[what]) == "success"
    assert set(site.calls(what).values()) == {1}
    assert site.calls(what)["close"] == 1


def test_run_that_failed_is_closed_and_stays_failed(site: Site) -> None:
    code, text = site.end("failed")

    assert code == 1
    assert "failed: stage: error: params.yaml: bad" in text
    assert site.airflow.state("retrain", site.runs["failed"]) == "failed"
    assert site.calls("failed") == {"stage": 1, "close": 1}


def test_run_that_came_to_a_verdict_and_failed_when_it_was_repeated_is_failed(site: Site) -> None:
    (site.settings.home / "broken").touch()
    site.clear("rejected", "stage")

    code, text = site.end("rejected")

    assert code == 1
    assert "failed: stage: error: data: missing" in text
    assert site.calls("rejected")["close"] == 2


def test_tasks_know_who_started_the_run_and_who_answers_for_lowered_bounds(site: Site) -> None:
    lines = (site.settings.home / "calls").read_text().splitlines()

    run = site.runs["approved"]
    names = {line.split(" ", 2)[2] for line in lines if line.startswith(run)}
    assert names == {"admin/Dr Roe"}


@pytest.mark.parametrize(
    ("what", "titles"),
    [
        ("approved", ["a model waits for approval"]),  # and found unchanged
        ("rejected", ["a model waits for approval", "a model was refused", "a run failed"]),
        ("failed", ["a run failed"]),
    ],
)
def test_team_is_told_what_became_of_a_run(site: Site, what: str, titles: list[str]) -> None:
    about = [one for one in site.messages if f"run {site.runs[what]}" in one["message"]]

    assert [one["title"] for one in about] == [f"lungseg: {title}" for title in titles]
    assert f"/dags/retrain/runs/{quote(site.runs[what])}" in about[-1]["message"]
    assert ("stage: a person must change" in about[-1]["message"]) == (what != "approved")
    assert "params.yaml: bad" not in about[-1]["message"]  # what the task said of itself
