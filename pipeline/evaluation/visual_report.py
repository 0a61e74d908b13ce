"""report.json: what the visual report is about and which cases it shows."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pipeline.artifacts import Artifact, StrictModel

REPORT_FILE = Path("artifacts/report/report.json")
REPORT_PAGE = Path("artifacts/report/index.html")
"""Both below the project's root."""
STRIPS = "cases"
"""The folder beside the page with a strip of pictures of each test radiograph.

There may be thousands, and each is a request to MLflow: who judges a report leaves them there, and
report.json binds them by one hash.
"""


class ReportHashes(StrictModel):
    """What a report is about; SHA-256 in hexadecimal digits."""

    model_sha256: str
    test_split_sha256: str
    data_sha256: str
    """Of all radiographs."""
    code_sha256: str
    """Of the code of the report."""
    metrics_sha256: str
    per_image_sha256: str
    calibration_sha256: str
    robustness_sha256: str
    failure_prediction_sha256: str
    conventions_sha256: str = ""
    """Of conventions.csv; empty where the network knows one convention."""
    split_sha256: str
    """Of split.csv."""
    params_sha256: str
    """Of the values of params.yaml but for the section `stages`, as JSON with sorted keys."""


class ShownCase(StrictModel):
    """A test radiograph that the report shows."""

    image_id: str
    kind: str
    """worst, median or best."""
    dice: float
    overlay: str
    """Path of its overlay below the report's folder."""
    sha256: str
    """Of the overlay."""


class Report(Artifact, ReportHashes):
    """The whole of report.json."""

    made_by: ClassVar[str] = "the stage report"

    index_sha256: str
    """Of the page."""
    strips_sha256: str
    """Of the folder of pictures of all cases."""
    test_cases: int
    """Test radiographs that were scored."""
    cases: tuple[ShownCase, ...]
