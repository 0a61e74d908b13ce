"""verdict.json: what the gate found of a candidate, check by check."""

from __future__ import annotations

import math
from typing import ClassVar

from pydantic import ConfigDict, computed_field, field_validator

from pipeline.artifacts import Artifact, StrictModel

VERDICT = "gate/verdict.json"
"""Where it is among the artifacts of the MLflow run."""


class Check(StrictModel):
    """One condition of the gate."""

    name: str
    value: float | str | None
    """A number that is not finite is text, for JSON has none."""
    bound: str
    passed: bool
    detail: str = ""

    @field_validator("value", mode="after")
    @classmethod
    def _as_json_has_it(cls, value: float | str | None) -> float | str | None:
        return str(value) if isinstance(value, float) and not math.isfinite(value) else value

    @property
    def found(self) -> str:
        """The value with its detail, for people."""
        value = f"{self.value:.4f}" if isinstance(self.value, float) else str(self.value)
        return f"{value} ({self.detail})" if self.detail else value

    @property
    def line(self) -> str:
        """The check in one line, for people."""
        return f"{self.name} {self.found}, required {self.bound}"


class Candidate(StrictModel):
    """What a verdict is about: MLflow's model and the hashes of what was judged."""

    model_id: str
    model_sha256: str
    """Of the network's files."""
    release_sha256: str
    """Of every file of the MLflow model."""
    test_split_sha256: str
    metrics_sha256: str
    per_image_sha256: str

    @property
    def hashes(self) -> dict[str, str]:
        """All but MLflow's name for it."""
        return self.model_dump(exclude={"model_id"})


class Verdict(Artifact):
    """Every check, and what was judged against what."""

    model_config = ConfigDict(extra="ignore")  # `passed` follows from the checks

    made_by: ClassVar[str] = "the task gate"

    checks: tuple[Check, ...]
    candidate: Candidate
    champion_version: str | None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def passed(self) -> bool:
        """Whether the candidate may be released."""
        return all(check.passed for check in self.checks)

    @property
    def status(self) -> str:
        """`passed` or `refused`."""
        return "passed" if self.passed else "refused"

    @property
    def reasons(self) -> list[str]:
        """The failed checks, each in one line."""
        return [check.line for check in self.checks if not check.passed]

    @property
    def markdown(self) -> str:
        """The verdict for MLflow's pages."""
        rows = [
            f"| {'pass' if one.passed else '**FAIL**'} | {one.name} | {one.found} | {one.bound} |"
            for one in self.checks
        ]
        head = "passed" if self.passed else "**refused**"
        return "\n".join(
            [f"Gate: {head}", "", "| | check | found | required |", "|---|---|---|---|", *rows]
        )
