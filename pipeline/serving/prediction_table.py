"""predictions.csv: a row per radiograph, and the proof of which masks a folder owes to prediction.

A line is added to `.predictions.csv.partial` before its mask is written, so that whatever ends the
command, each mask that is there is known; the table itself is complete or that of the run before.
"""

from __future__ import annotations

import csv
import fcntl
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TextIO

from pipeline.dataset.layout import shown
from pipeline.errors import DatasetError
from pipeline.files import atomic_path, sha256_file

TABLE = "predictions.csv"
PARTIAL = f".{TABLE}.partial"


@dataclass(frozen=True)
class PredictionRow:
    """A row of predictions.csv; without a mask only `path` and `error` are filled in."""

    path: str
    """The whole one, so that it means the same wherever the next command is started."""
    mask: str = ""
    width: str = ""
    height: str = ""
    """Of the radiograph and its mask, pixels."""
    lung_area: str = ""
    """Share of the picture that is lung."""
    mean_confidence: str = ""
    error: str = ""
    radiograph_sha256: str = ""
    """Of the files' bytes, hex, as the next two."""
    mask_sha256: str = ""
    model_sha256: str = ""
    """Of the network's two files."""
    level: str = ""
    threshold: str = ""
    notes: str = ""
    """How the radiograph's values were read where that is not as usual: sentences with "; "."""
    convention: str = ""
    """The annotation convention of the mask; empty in rows of before: the network's default."""


COLUMNS = [field.name for field in fields(PredictionRow)]
COLUMNS_BEFORE = (
    COLUMNS[: COLUMNS.index("convention")],
    COLUMNS[: COLUMNS.index("radiograph_sha256")],
)
"""Of tables from before there were conventions, and from before 0.4: these prove their masks by
their names alone."""


class PredictionTable:
    """What is known of the masks in a folder, held by one prediction at a time."""

    def __init__(self, folder: Path) -> None:
        """Read what was written there; raises DatasetError for a table of somebody else's."""
        self.folder = folder
        self._of_mask: dict[str, list[PredictionRow]] = defaultdict(list)
        for name in (TABLE, PARTIAL):
            for row in _read(folder / name):
                self._of_mask[Path(row.mask).name].append(row)

    def row_of(self, mask: Path) -> PredictionRow | None:
        """What was written of the mask that is there, by its path below the folder.

        None when prediction did not write that very file: the rows prove it by its bytes.
        """
        file, parts = self.folder / mask, mask.parts
        rows = self._of_mask.get(mask.name, [])
        named = [row for row in rows if Path(row.mask).parts[-len(parts) :] == parts]
        if not named or file.is_symlink() or not file.is_file():
            return None
        digest = sha256_file(file)
        proven = [row for row in named[::-1] if row.mask_sha256 in ("", digest)]
        # Masks in folders below may have the same name and bytes: theirs are the longer paths.
        return min(
            proven,
            key=lambda row: (row.mask != str(file), len(Path(row.mask).parts)),
            default=None,
        )

    def masks(self) -> dict[Path, PredictionRow]:
        """The masks of earlier runs that are there as they were written, below the folder.

        Each row has its mask by the folder as it is named now.
        """
        rows = [row for of_name in self._of_mask.values() for row in of_name if row.mask]
        known = dict.fromkeys(path for row in rows for path in self._places(row))
        return {
            path: replace(row, mask=str(self.folder / path))
            for path in known
            if (row := self.row_of(path))
        }

    def _places(self, row: PredictionRow) -> Iterator[Path]:
        """Where below the folder a mask may be: its path was written as the command had it.

        In several places where a folder of masks has the name of the folder itself.
        """
        parts = Path(row.mask).parts
        for start in range(len(parts)):
            path = Path(*parts[start:])
            if not path.is_absolute() and (self.folder / path).is_file():
                yield path

    @contextmanager
    def adding(self) -> Iterator[RowWriter]:
        """Yield what takes rows; the table is written at the end, however that comes.

        Masks of earlier runs that are still there stay in it. Raises DatasetError when the table
        cannot be written: what it would say is then kept for the next command.
        """
        former = self.masks()
        try:
            self._write(former.values())
            with _open(self.folder / PARTIAL, "w") as file:
                writer = RowWriter(file)
                try:
                    yield writer
                finally:
                    self._write(self._held(writer.rows, former))
                    (self.folder / PARTIAL).unlink()
        except OSError as error:
            raise cannot_write(Path(error.filename or self.folder / TABLE), error) from None

    def _held(
        self, rows: Mapping[Path, PredictionRow], former: Mapping[Path, PredictionRow]
    ) -> list[PredictionRow]:
        """The rows of this run and of those before that say what is so."""
        # The last mask may not have been written: then that of before is still there.
        done = {mask: row for mask, row in rows.items() if self._holds(mask, row)}
        kept = [
            row
            for mask, row in former.items()
            if mask not in done and (self.folder / mask).exists()
        ]
        return [*done.values(), *kept]

    def _holds(self, mask: Path, row: PredictionRow) -> bool:
        """Whether what the row says is so."""
        file = self.folder / mask
        return not row.mask or (file.is_file() and sha256_file(file) == row.mask_sha256)

    def _write(self, rows: Iterable[PredictionRow]) -> None:
        with atomic_path(self.folder / TABLE) as partial, _open(partial, "w") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(map(asdict, rows))


def cannot_write(path: Path, error: OSError) -> DatasetError:
    """The error for what cannot be written below the folder of masks."""
    return DatasetError(
        f"{shown(str(path))}: {error.strerror}; make room or choose another --out, and the same "
        "command goes on where it stopped"
    )


@contextmanager
def open_table(folder: Path) -> Iterator[PredictionTable]:
    """Make the folder if it is not there, and hold it; yields its table.

    What was made and stayed empty is gone again afterwards. Raises DatasetError when it cannot be
    made or written, or another prediction is at work there.
    """
    try:
        missing = [one for one in (folder, *folder.parents) if not one.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise DatasetError(
            f"--out {shown(str(folder))}: {error.strerror}; name a folder that you may write"
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield PredictionTable(folder)
    except BlockingIOError:
        raise DatasetError(
            f"--out {shown(str(folder))}: another prediction is writing there; wait for it, or "
            "name another folder"
        ) from None
    finally:
        with suppress(OSError):
            for empty in missing:
                empty.rmdir()
        os.close(descriptor)


def _open(path: Path, mode: str) -> TextIO:
    # Names of files are bytes; what is no UTF-8 in them comes back as it was.
    return path.open(mode, encoding="utf-8", errors="surrogateescape", newline="")  # type: ignore[return-value]


class RowWriter:
    """Takes the rows of a run, each at once on the disk."""

    def __init__(self, file: TextIO) -> None:
        self.rows: dict[Path, PredictionRow] = {}
        """By the path of the mask below the folder, also of one that could not be made."""
        self._file = file
        self._csv = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        self._csv.writeheader()

    def add(self, mask: Path, row: PredictionRow) -> None:
        """Add a row; it is on the disk when this returns."""
        self._csv.writerow(asdict(row))
        self._file.flush()
        self.rows[mask] = row


def _read(path: Path) -> list[PredictionRow]:
    if not path.exists():
        return []
    try:
        with _open(path, "r") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames not in (COLUMNS, *COLUMNS_BEFORE):
                raise DatasetError(
                    f"{shown(str(path))}: is no table of `lungseg predict`; move it, or choose "
                    "another --out"
                )
            rows = list(reader)
    except (OSError, csv.Error) as error:
        raise DatasetError(
            f"{shown(str(path))}: cannot be read ({error}); choose another --out"
        ) from None
    # The last line of a run that was killed may be cut off.
    whole = [row for row in rows if None not in row and None not in row.values()]
    return [PredictionRow(**row) for row in whole]
