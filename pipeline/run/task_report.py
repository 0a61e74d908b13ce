"""What a task says at its end: a line of JSON that Airflow keeps and people are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.artifacts import first_problem
from pipeline.errors import ServiceError
from pipeline.release.promotion import Promotion
from pipeline.release.verdict import Candidate, Check, Verdict

EXIT_CODES = {"refused": 2, "needs approval": 3}
"""By status."""


class TaskReport(BaseModel):
    """The report of every task."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    """The stage, or the task of a run or of a search."""
    status: str
    """Of a stage ran or cached, of the gate passed or refused, of an approval approved or rejected,
    of a promotion released, unchanged, refused or needs approval; closed; of a search planned or
    found."""
    seconds: float = 0.0
    run_id: str | None = None
    """Of MLflow."""
    reason: str = ""
    note: str = ""
    """What else a person is shown of it, in a few words."""

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> Self:
        """Read what Airflow kept of a report; raises ServiceError when it is none of these."""
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise ServiceError(
                f"task {content.get('stage')}: its report has {first_problem(error)}; let Airflow "
                "run the same version of lungseg that asks it",
            ) from None

    @property
    def exit_code(self) -> int:
        """Of the command that did the task: 0 unless somebody refused or must still approve."""
        return EXIT_CODES.get(self.status, 0)

    @property
    def line(self) -> str:
        """The report as one line of JSON, without what it has nothing to say of."""
        named = self.model_dump(mode="json", exclude_defaults=True)
        return self.model_dump_json(include={*named, "seconds"})


class RunPlan(TaskReport):
    """The report of a plan."""

    parts: tuple[str, ...]
    """What stages are done in, such as 1/2 and 2/2; empty for in one piece."""


class GateReport(TaskReport):
    """The verdict, too; only the reason when the gate refused without one."""

    passed: bool = False
    checks: tuple[Check, ...] = ()
    candidate: Candidate | None = None
    champion_version: str | None = None
    bounds: str = ""
    """How they differ from the deployed ones; empty when they do not."""
    needs_approval: bool = False
    """Whether a person must approve the release."""
    summary: str = ""
    """What that person is shown, as Markdown."""

    @classmethod
    def of(cls, verdict: Verdict, summary: str) -> Self:
        """The report of a gate that came to a verdict."""
        return cls(
            stage="gate",
            status=verdict.status,
            reason="; ".join(verdict.reasons),
            passed=verdict.passed,
            checks=verdict.checks,
            candidate=verdict.candidate,
            champion_version=verdict.champion_version,
            bounds=verdict.bounds.note,
            needs_approval=verdict.needs_approval,
            summary=summary,
        )


class PromotionReport(TaskReport):
    """The released version and its scores, too."""

    version: str | None = None
    metrics: dict[str, float] = {}
    event: dict[str, Any] | None = None
    """The newest entry of the log of releases: what the asset event of the release holds."""

    @classmethod
    def of(cls, promotion: Promotion) -> Self:
        """The report of a promotion."""
        return cls(
            stage="promote",
            status=promotion.status,
            reason=promotion.reason,
            version=promotion.version,
            metrics=dict(promotion.metrics),
            event=dict(promotion.event) if promotion.event else None,
        )
