"""The operator of every DAG here: one verb of `lungseg task` as a child process."""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT, Popen, TimeoutExpired
from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

HERE = Path(__file__).resolve().parents[1]
NAMED = Path(os.environ.get("LUNGSEG_REPO") or HERE)  # may also be a git URL
REPO = NAMED if NAMED.is_dir() else HERE


class LungsegOperator(BaseOperator):  # type: ignore[misc]  # Airflow is read without its types
    """Run `lungseg task NAME` and take the line of JSON at its end as the task's XCom.

    The exit code decides: 0 success, 1 failure without a retry, 2 refused by the gate, else a
    retry. A task with an outlet succeeds, and emits its asset event, only with the status
    `released`; with any other it is skipped.
    """

    template_fields = ("options",)
    custom_operator_name = "lungseg task"  # what the graph shows below the task's name

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.child: Popen[str] | None = None
        self.options = {  # the child's environment; nothing of it is part of a command line
            "LUNGSEG_RUN_ID": "{{ run_id }}",
            "LUNGSEG_REVISION": "{{ params.revision }}",
            "LUNGSEG_OVERRIDES": "{{ (params.overrides or []) | tojson }}",
            "LUNGSEG_FORCE": "{{ 'true' if params.force else 'false' }}",
        }

    def execute(self, context: Any) -> dict[str, Any]:
        """The child's report; raises AirflowFailException, AirflowException (retry) or a skip."""
        code, report, problem = self.run_child()
        if code == 2 and (report or problem.startswith("error: ")):
            report = {"stage": self.task_id, "reason": problem, **report, "status": "refused"}
        elif code in (1, 2) or (code == 0 and not report):
            raise AirflowFailException(problem or "no output: LUNGSEG_BIN must name `lungseg`")
        elif code:
            raise AirflowException(f"{problem or 'no output'} (exit code {code}, worth a retry)")
        if self.outlets:
            self.announce(context, report)
        return report

    def announce(self, context: Any, report: dict[str, Any]) -> None:
        """Put the release into the asset event, or skip the task, which then emits none."""
        if report["status"] != "released":
            context["ti"].xcom_push("return_value", report)
            raise AirflowSkipException(report.get("reason") or f"status {report['status']}")
        for asset in self.outlets:
            extra = {key: report.get(key) for key in ("version", "run_id", "metrics")}
            context["outlet_events"][asset].extra = extra

    def run_child(self) -> tuple[int, dict[str, Any], str]:
        """Exit code, report, and the last `error:` (else last) line; logs lines as they come."""
        report: dict[str, Any] = {}
        problem = ""
        try:
            self.child = child = self.start_child()
            output: Any = child.stdout
            with output:
                for line in map(str.rstrip, output):
                    self.log.info("%s", line)
                    report = read_report(line) or report
                    telling = any(map(str.isalpha, line)) and not problem.startswith("error: ")
                    problem = line if telling or line.startswith("error: ") else problem
            return child.wait(), report, problem
        finally:
            self.on_kill()

    def start_child(self) -> Popen[str]:
        """Start `lungseg task` in a process group of its own."""
        program = os.environ.get("LUNGSEG_BIN") or str(Path(sys.executable).with_name("lungseg"))
        env = {"LUNGSEG_REPO": str(REPO), **os.environ, **self.options, "PYTHONUNBUFFERED": "1"}
        streams: Any = {"stdin": DEVNULL, "stdout": PIPE, "stderr": STDOUT, "errors": "replace"}
        command = [program, "task", self.task_id]
        try:
            return Popen(command, cwd=REPO, env=env, text=True, start_new_session=True, **streams)
        except OSError as error:
            raise AirflowFailException(f"{program}: {error.strerror}; set LUNGSEG_BIN") from None

    def on_kill(self) -> None:
        """End the child and everything it started."""
        if self.child is None:
            return
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError, TimeoutExpired):
                os.killpg(self.child.pid, sign)
                self.child.wait(timeout=3)  # Airflow itself kills this process after 5 s


def read_report(line: str) -> dict[str, Any] | None:
    """The report of a task, if that is what the line is."""
    with suppress(ValueError):
        content = json.loads(line)
        if isinstance(content, dict) and {"stage", "status"} <= content.keys():
            return content
    return None
