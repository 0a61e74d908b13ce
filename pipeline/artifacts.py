"""Files that cross between rooms: each kind has one owner, whose model everybody reads it by.

A JSON file is a subclass of Artifact, a table is a TableFile (pipeline/table_files.py); both are
declared beside the code that writes them.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import StageError
from pipeline.files import write_json


class StrictModel(BaseModel):
    """Frozen content with the fields of its subclass, no others, and of just these types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Artifact(StrictModel):
    """A JSON file."""

    made_by: ClassVar[str] = ""
    """The stage or task that writes it."""
    remedy: ClassVar[str] = ""
    """What to do about a damaged one, unless it is to run `made_by` again."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """The content of the file; raises StageError when it is missing or is not such a file."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise missing_artifact(path, cls.made_by) from None
        except ValidationError as error:
            raise unusable_artifact(path, cls.made_by, first_problem(error), cls.remedy) from None

    def write(self, path: Path) -> None:
        """Write it as stable, readable JSON; a number that is not finite raises ValueError."""
        write_json(path, self.model_dump(mode="json", by_alias=True))


def first_problem(error: ValidationError) -> str:
    """Where a content differs first from its model, and how."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]


def missing_artifact(path: Path, made_by: str) -> StageError:
    """The error for an artifact that is not there."""
    return StageError(f"{path}: no such file, expected what {made_by} writes; run {made_by} first")


def unusable_artifact(path: Path, made_by: str, why: str, remedy: str = "") -> StageError:
    """The error for an artifact that is not what its owner writes, in one line."""
    return StageError(
        f"{path}: cannot be read ({' '.join(why.split())[:160]}), expected what {made_by} writes; "
        f"{remedy or f'run {made_by} again'}",
    )
