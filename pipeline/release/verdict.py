"""verdict.json: what the gate found of a candidate, check by check."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import ConfigDict, computed_field, field_validator

from pipeline.artifacts import Artifact, StrictModel
from pipeline.evaluation.intervals import Interval
from pipeline.release.bounds import Bounds

VERDICT = "gate/verdict.json"
"""Where it is among the artifacts of the MLflow run."""


MEANT = re.compile(r"[\\`*\[\]|~]|(?<!\w)_|_(?!\w)|<(?=[A-Za-z/!?])|&(?=#?\w+;)")
"""Where Markdown reads more in a text than its letters."""


def as_markdown(text: str) -> str:
    """Markdown, for a cell of a table too, that shows `text` as it is: the name of a class, say."""
    return MEANT.sub(lambda found: f"\\{found[0]}", text)


class Check(StrictModel):
    """One condition of the gate."""

    model_config = ConfigDict(extra="ignore")  # a later version may say more

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
    report_sha256: str
    """Of every file of the report; empty when there is none."""
    dvc_lock_sha256: str
    params_sha256: str
    """Of the run's params.yaml, which has the threshold and the bounds that it asked for."""

    @property
    def hashes(self) -> dict[str, str]:
        """All but MLflow's name for it."""
        return self.model_dump(exclude={"model_id"})


class Prediction(StrictModel):
    """A tenth of the test radiographs, predicted again from the file that would be released."""

    seed: int
    """Of the choice: the same seed chooses the same radiographs."""
    radiographs: int
    differing: tuple[str, ...]
    """Those whose pixels are not counted as the table has them, at most ten."""


class Estimate(StrictModel):
    """A score over the test radiographs, with its 95 % interval over resampled groups."""

    value: float
    interval: Interval


def score_rows(metrics: Mapping[str, Estimate]) -> list[str]:
    """A table of scores with their intervals, as lines of Markdown."""
    rows = [
        f"| {name} | {one.value:.4f} | {one.interval[0]:.4f} to {one.interval[1]:.4f} |"
        for name, one in metrics.items()
    ]
    heading = "| score | mean per radiograph | 95 % interval (patients resampled) |"
    return [heading, "|---|---|---|", *rows]


class Verdict(Artifact):
    """Every check, and what was judged against what."""

    model_config = ConfigDict(extra="ignore")  # `passed` follows from the checks

    made_by: ClassVar[str] = "the task gate"

    checks: tuple[Check, ...]
    candidate: Candidate
    bounds: Bounds
    champion_version: str | None
    best_version: str | None = None
    """The best release so far on these test radiographs."""
    released_as: str | None = None
    """The version that is this very network already."""
    prediction: Prediction | None = None
    metrics: dict[str, Estimate]
    """Empty when the evidence was not good enough to say."""

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
    def needs_approval(self) -> bool:
        """Whether a person must decide before it is released."""
        return self.passed and not self.released_as and self.bounds.used.approval == "required"

    @property
    def reasons(self) -> list[str]:
        """The failed checks, each in one line."""
        return [check.line for check in self.checks if not check.passed]

    @property
    def content(self) -> dict[str, Any]:
        """As JSON has it."""
        return self.model_dump(mode="json")

    @property
    def markdown(self) -> str:
        """The verdict for MLflow's pages."""
        rows = [
            f"| {'pass' if one.passed else '**FAIL**'} | {as_markdown(one.name)} | "
            f"{as_markdown(one.found)} | {as_markdown(one.bound)} |"
            for one in self.checks
        ]
        head = "passed" if self.passed else "**refused**"
        notes = [f"Bounds {self.bounds.note}.", ""] if self.bounds.note else []
        lines = [f"Gate: {head}", "", *notes, "| | check | found | required |", "|---|---|---|---|"]
        return "\n".join([*lines, *rows])
