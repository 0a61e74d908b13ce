"""doubtful_conventions.csv: the pairs whose mask looks like another convention than its own."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from pipeline.table_files import TableFile, columns_of

DOUBTFUL_FILE = Path("artifacts/validate/doubtful_conventions.csv")
"""Below the project's root."""


@dataclass(frozen=True, kw_only=True)
class Doubtful:
    """A row of doubtful_conventions.csv; gaps are shares of the width of both lungs."""

    image_id: str
    convention: str
    """Its own."""
    convention_by: str
    mask_sha256: str
    """Of the mask that was looked at."""
    looks_like: str
    """The convention whose masks it resembles most."""
    odds: float
    """How many times as likely its borders are among those as among masks of its own."""
    gap: float
    """Between its lungs, mean of ten heights."""
    own_gap: float
    """The median of its own convention."""
    other_gap: float
    """The median of the one that it looks like."""
    command: str
    """What gives it that convention."""


DOUBTFUL = TableFile(columns_of(Doubtful), "the stage validate")


def convention_command(convention: str, image_id: str) -> str:
    """The command with which a person gives a pair a convention, or confirms the one it has."""
    return f"lungseg data convention {convention} {shlex.quote(image_id)}"
