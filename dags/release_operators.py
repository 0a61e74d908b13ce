"""The operators of a run's end: a person's approval, and what closes the record of the run."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from lungseg_notices import tell_end, tell_waiting
from lungseg_operator import LungsegOperator

HOURS = float(os.environ.get("LUNGSEG_APPROVAL_HOURS") or 168)
"""How long a person may take; no answer is a rejection."""
APPROVE, REJECT = "Approve", "Reject"
FAILED = {"failed", "upstream_failed"}
"""States of a task that keep a run from its verdict."""


class ApproveOperator(LungsegOperator, HITLOperator):  # type: ignore[misc]
    """Ask a person on a page of Airflow, then hand the answer to `lungseg task approve`.

    It is skipped, and nobody is asked, when the gate did not pass or needs no approval.
    """

    template_fields = (*LungsegOperator.template_fields, *HITLOperator.template_fields)

    def __init__(self, **kwargs: Any) -> None:
        comment = Param(
            "", type=["null", "string"], description="Why, in a few words; may be empty."
        )
        super().__init__(
            subject="Release the model of run {{ run_id }}?",
            body="{{ ti.xcom_pull('gate').get('summary', '') }}",
            options=[APPROVE, REJECT],
            defaults=REJECT,
            response_timeout=timedelta(hours=HOURS),
            **{**kwargs, "params": {"comment": comment}},  # Airflow adds those of the DAG by itself
        )

    def execute(self, context: Any) -> Any:
        """Ask, unless this very question was answered and the answer not recorded yet."""
        gate = context["ti"].xcom_pull("gate")
        if gate["status"] != "passed" or not gate.get("needs_approval"):
            raise AirflowSkipException(gate.get("reason") or "the gate needs no approval")
        kept = context["task_state_store"].get("answer")
        if kept and kept["body"] == self.body:
            return self.record(context, kept["answer"])
        tell_waiting(context)
        return HITLOperator.execute(self, context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Record the answer; Airflow calls this once there is one, or time is up."""
        found = super().execute_complete(context, event)
        [choice], person = found["chosen_options"], found["responded_by_user"]
        answer = {
            "decision": choice.lower(),
            "by": person["name"] if person else f"nobody (no answer within {HOURS:g} hours)",
            "comment": found["params_input"].get("comment") or "",
            "at": found["responded_at"].isoformat(),
        }
        # A retry begins at `execute`: a silent MLflow must not make the person answer twice.
        context["task_state_store"].set("answer", {"body": self.body, "answer": answer})
        return self.record(context, answer)

    def record(self, context: Any, answer: dict[str, str]) -> dict[str, Any]:
        """The report of the child that records the answer; after that, whoever clears asks anew."""
        self.environment["LUNGSEG_ANSWER"] = json.dumps(answer)
        report = self.report(context)
        context["task_state_store"].delete("answer")
        return report


class CloseOperator(LungsegOperator):
    """Close the record of the run however it ended, and fail if it did not come to a verdict.

    As the teardown of a DAG it alone decides the state of the DAG run. Airflow itself would call
    one that was marked failed by hand a success: its last task was skipped, not failed.
    """

    def execute(self, context: Any) -> Any:
        """The report; raises AirflowFailException, AirflowException (retry) or a skip."""
        states = task_states(context["ti"])
        # Both: a run that was stopped may have no failed task, a repeated one has its old report.
        promoted = context["ti"].xcom_pull("promote")
        verdict = bool(promoted) and FAILED.isdisjoint(states.values())
        self.tell_once(context, states)
        return self.close(context, verdict)

    def close(self, context: Any, verdict: bool) -> dict[str, Any]:
        """The report; raises as `execute` does."""
        try:
            report = self.report(context)
        except AirflowException as error:
            if verdict:  # the task before this one has closed the record itself
                raise AirflowSkipException(str(error)) from None
            raise
        if not verdict:
            raise AirflowFailException("the run failed or was stopped before its verdict")
        return report

    def tell_once(self, context: Any, states: dict[str, str | None]) -> None:
        """Tell people how the run ended, once however often this task is tried again."""
        store, tries = context["task_state_store"], context["ti"].max_tries
        if store.get("told") != tries:  # clearing a task raises its max_tries
            tell_end(context, {name: states[name] for name in states if name != self.task_id})
            store.set("told", tries)


class CloseSearchOperator(CloseOperator):
    """Close the records of a search and its trials, and fail if no best trial was named.

    A trial that failed does not fail the search, and nobody is told how a search ended.
    """

    def execute(self, context: Any) -> Any:
        """The report; raises as that of a run does."""
        return self.close(context, task_states(context["ti"])["best"] == "success")


def task_states(ti: Any) -> dict[str, str | None]:
    """The states of all tasks of this run, by their names."""
    [states] = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id]).values()
    return dict(states)
