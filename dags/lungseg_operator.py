"""The operator of every DAG here: one verb of `lungseg task` as a child process."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT, Popen, TimeoutExpired
from typing import Any

from airflow.sdk import BaseOperator, Param
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    AirflowTaskTimeout,
)
from lungseg_notices import PROBLEM, without_names
from lungseg_project import REPO, child_folder, head_of_run
from lungseg_retries import RETRIES, ChildDiedError, ServiceAwayError

PARAMS = {
    "revision": Param(
        "HEAD",
        type="string",
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9._/@{}:^~+-]*$",  # never an option of git
        description="Branch, tag or commit whose code, data and parameters are run; `HEAD` is the "
        "commit that the run is of.",
    ),
    "overrides": Param(
        [],
        type=["array", "null"],
        items={"type": "string", "pattern": r"^\w+\.\w+=.+$"},
        description="Changes to params.yaml, one a line: `section.key=value`.",
    ),
}
"""What the form of every DAG asks first."""
OPTIONS: dict[str, Any] = {
    "catchup": False,
    "max_active_runs": 4,
    "is_paused_upon_creation": False,
    "default_args": RETRIES,
}
"""Of every DAG."""
TRAIN_HOURS = float(os.environ.get("LUNGSEG_TRAIN_HOURS") or 0)
GPU: dict[str, Any] = {
    "pool": "gpu",
    "queue": "gpu",
    "execution_timeout": timedelta(hours=TRAIN_HOURS) if TRAIN_HOURS else None,
}
"""Of every task that trains."""
SERVICE_AWAY = 75
"""Exit code of a child that found no answer."""
NEWEST = 20
"""Events of an asset that are looked through for one of the same release, newest first."""


class LungsegOperator(BaseOperator):  # type: ignore[misc]  # Airflow is read without its types
    """Run `lungseg task NAME` and take the line of JSON at its end, its report, as XCom.

    `verb` is NAME where that is not the task's id. `variables` are more of the child's environment,
    `number` the trial of a search, `part` such as 2/4 what of a stage is done, and `result` the
    field of the report that is the XCom instead of all of it, for a task to be mapped over.

    The exit code decides: 0 success, 1 failure without a retry, 2 refused, 3 needs approval, 75 or
    any other a retry, by its kind. A task with an asset as inlet and outlet emits the event that
    its report names, once; when there is none, or it was emitted before, the task is skipped.
    """

    template_fields = ("environment",)
    custom_operator_name = "lungseg task"  # what the graph shows below the task's name

    def __init__(
        self,
        *,
        variables: Mapping[str, str] | None = None,
        number: int | None = None,
        part: str = "",
        verb: str = "",
        result: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.child: Popen[str] | None = None
        self.killed = False
        self.result = result
        self.verb = verb or self.task_id
        self.environment = {  # of the child; nothing of it is part of a command line
            "LUNGSEG_RUN_ID": "{{ run_id }}",
            "LUNGSEG_REVISION": "{{ params.revision }}",
            "LUNGSEG_OVERRIDES": "{{ (params.overrides or []) | tojson }}",
            "LUNGSEG_FORCE": "{{ 'true' if params.get('force') else 'false' }}",
            "LUNGSEG_ALLOW_LOWERED": "{{ params.get('allow_lowered') or '' }}",
            "LUNGSEG_TRIGGERED_BY": "{{ dag_run.triggering_user_name or '' }}",
            **(variables or {}),
            **({} if number is None else {"LUNGSEG_TRIAL": str(number)}),
            **({"LUNGSEG_PART": part} if part else {}),
        }

    def execute(self, context: Any) -> Any:
        """The report, or the part of it that is asked for; raises as `report` and `announce` do."""
        if self.environment.get("LUNGSEG_REVISION") == "HEAD":
            self.environment["LUNGSEG_REVISION"] = head_of_run(context)
        report = self.report(context)
        if self.outlets:
            self.announce(context, report)
        return report[self.result] if self.result else report

    def report(self, context: Any) -> dict[str, Any]:
        """The child's report; the kind of what is raised is kept for the task that tells of it.

        Raises AirflowFailException, or for a retry ServiceAwayError or ChildDiedError.
        """
        try:
            return self.call_child()
        except (AirflowException, AirflowTaskTimeout) as error:
            context["ti"].xcom_push(PROBLEM, kind_of(error))
            raise

    def call_child(self) -> dict[str, Any]:
        """The child's report; raises as `report` does."""
        code, report, problem = self.run_child()
        if code == 2 and (report or problem.startswith("error: ")):
            return {"stage": self.task_id, "reason": problem, **report, "status": "refused"}
        if code == 3 and report:
            return {"reason": problem, **report, "status": "needs approval"}
        if code in (1, 2) or (code == 0 and not report):
            raise AirflowFailException(problem or "no output: LUNGSEG_BIN must name `lungseg`")
        if code:
            kind = ServiceAwayError if code == SERVICE_AWAY else ChildDiedError
            raise kind(f"{problem or 'no output'} (exit code {code}, worth a retry)")
        return report

    def announce(self, context: Any, report: dict[str, Any]) -> None:
        """Emit the asset event that the report names, or skip the task, which then emits none.

        The events that there are decide, not the status: a promotion that was killed once the
        model was released is `unchanged` when it is tried again, and its event is still due.
        """
        [asset] = self.outlets
        event = report.get("event")
        earlier = context["inlet_events"][asset].ascending(False).limit(NEWEST)
        if not event or event["record"] in [(one.extra or {}).get("record") for one in earlier]:
            context["ti"].xcom_push("return_value", report)
            raise AirflowSkipException(report.get("reason") or f"status {report['status']}")
        context["outlet_events"][asset].extra = event

    def run_child(self) -> tuple[int, dict[str, Any], str]:
        """Exit code, report, and the last `error:` (else last) line; logs lines as they come."""
        report: dict[str, Any] = {}
        problem = ""
        try:
            self.child = child = self.start_child()
            if self.killed:  # while the child was starting, when there was nothing to end yet
                self.end_child()
            output: Any = child.stdout
            with output:
                for line in map(str.rstrip, output):
                    self.log.info("%s", line)
                    report = read_report(line) or report
                    telling = any(map(str.isalpha, line)) and not problem.startswith("error: ")
                    problem = line if telling or line.startswith("error: ") else problem
            return child.wait(), report, problem
        finally:
            self.end_child()

    def start_child(self) -> Popen[str]:
        """Start `lungseg task` in a process group of its own."""
        folder = child_folder()
        env = {**os.environ, **self.environment, "LUNGSEG_REPO": REPO, "PYTHONUNBUFFERED": "1"}
        streams: Any = {"stdin": DEVNULL, "stdout": PIPE, "stderr": STDOUT, "errors": "replace"}
        command = [program(), "task", self.verb]
        try:
            return Popen(command, cwd=folder, env=env, text=True, start_new_session=True, **streams)
        except OSError as error:
            raise AirflowFailException(f"{command[0]}: {error.strerror}; set LUNGSEG_BIN") from None

    def on_kill(self) -> None:
        """End the child, also one that is only just starting, and everything it started."""
        self.killed = True
        self.end_child()

    def end_child(self) -> None:
        """End the child's process group: by request, and 3 s later without."""
        if self.child is None:
            return
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError, TimeoutExpired):
                os.killpg(self.child.pid, sign)
                self.child.wait(timeout=3)  # Airflow itself kills this process after 5 s


def kind_of(error: Exception) -> str:
    """What people are told of a failure; only of a service that is away it is what the child said.

    What else a child says may name a patient or a radiograph, in words like any others.
    """
    if isinstance(error, ServiceAwayError):
        return without_names(str(error))
    if isinstance(error, ChildDiedError):
        return "its process died; the log says how far it came"
    if isinstance(error, AirflowTaskTimeout):
        return "it took longer than it may"
    return "a person must change something; the log says what"


def program() -> str:
    """The command `lungseg`: LUNGSEG_BIN, else the one beside Airflow's Python."""
    return os.environ.get("LUNGSEG_BIN") or str(Path(sys.executable).with_name("lungseg"))


def read_report(line: str) -> dict[str, Any] | None:
    """The report of a task, if that is what the line is."""
    with suppress(ValueError):
        content = json.loads(line)
        if isinstance(content, dict) and {"stage", "status"} <= content.keys():
            return content
    return None
