"""Masks for radiographs by a released model."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.conventions import convention_places
from pipeline.dataset.layout import shown
from pipeline.errors import DatasetError, UnreadableError
from pipeline.files import atomic_path
from pipeline.inference.model_files import model_sha256
from pipeline.inference.segmenter import Segmenter
from pipeline.radiograph.grey import Grey
from pipeline.radiograph.reading import load_radiograph
from pipeline.release.registry import Release, fetch_release
from pipeline.serving.prediction_table import (
    PredictionRow,
    PredictionTable,
    cannot_write,
    open_table,
)
from pipeline.serving.radiograph_files import list_radiographs, refuse_shared_folder
from pipeline.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Predictions:
    """How many radiographs have a mask, how many of them had it before, and the other problems."""

    done: int
    before: int
    problems: list[str]
    passed_over: str
    """One line on what was no radiograph; empty when all was."""


@dataclass(frozen=True)
class Asked:
    """What of a network is asked, for all radiographs."""

    level: int = 0
    """1, 2, ... is the part of a network with deep supervision up to that head, 0 all of it."""
    convention: str | None = None
    """The annotation convention of the masks; None: the network's default."""


@dataclass(frozen=True)
class _Model:
    """What predicts, and what the table says of it."""

    segmenter: Segmenter
    threshold: float
    facts: PredictionRow

    @property
    def default(self) -> str:
        """The convention that it answers in when it is asked for no other."""
        return self.segmenter.conventions[0]


def predict_files(
    settings: Settings,
    paths: Sequence[Path],
    out: Path,
    model_uri: str,
    asked: Asked = Asked(),
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Predictions:
    """Write a mask PNG per radiograph and predictions.csv to `out`.

    Each mask has its radiograph's own size. lung_area is the share of the picture that is lung;
    mean_confidence is the mean over pixels of the probability of the class chosen, 0.5 to 1. What
    cannot be read is listed with its error and skipped. A mask that the same model made of the same
    file before stays. `progress` is told how many are done, of how many.

    Raises DatasetError, before the model is fetched and with nothing changed, when `out` shares a
    folder with radiographs or a mask would take the place of what prediction did not write or made
    of another radiograph; and when a mask or the table cannot be written. Raises StageError, before
    anything is written, when the network has no such level or does not know the convention.
    """
    found = list_radiographs(paths)
    refuse_shared_folder(paths, out)
    with open_table(out) as table:
        _refuse_strangers(table, found.files)
        with tempfile.TemporaryDirectory() as temporary:
            model = _open_model(fetch_release(settings, model_uri, Path(temporary)), asked)
            before, problems = 0, []
            with table.adding() as rows:
                for number, (path, mask) in enumerate(found.files):
                    progress(number, len(found.files))
                    row, png = _predict_one(model, table, path, mask)
                    rows.add(mask, row)
                    if png:
                        _write(out / mask, png)
                    elif row.error:
                        problems.append(row.error)
                        if table.row_of(mask):  # of what the file was before
                            (out / mask).unlink()
                    else:
                        before += 1
                progress(len(found.files), len(found.files))
    return Predictions(len(found.files) - len(problems), before, problems, found.note)


def _refuse_strangers(table: PredictionTable, files: Sequence[tuple[Path, Path]]) -> None:
    """Raise DatasetError when a mask would take the place of a file that is none of ours.

    The same of the mask of another radiograph that is still there.
    """
    for path, mask in files:
        target = table.folder / mask
        for parent in [table.folder / one for one in mask.parents if one.name]:
            if parent.is_symlink() or (parent.exists() and not parent.is_dir()):
                raise DatasetError(
                    f"{shown(str(parent))}: found a link or a file, expected a folder of masks; "
                    "move it, or choose another --out"
                )
        if not (target.exists() or target.is_symlink()):
            continue
        row = table.row_of(mask)
        if row is None:
            raise DatasetError(
                f"{shown(str(target))}: is there already, and was not written by `lungseg predict` "
                "or was changed since; move it, or choose another --out"
            )
        if _is_another(Path(row.path), path):
            raise DatasetError(
                f"{shown(str(target))}: is the mask of {shown(row.path)}, and {shown(str(path))} "
                "would take its place; choose another --out"
            )


def _is_another(former: Path, path: Path) -> bool:
    """Whether a radiograph is there still, as far as this user can see, and another one."""
    try:
        return not former.samefile(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # in the folder of another user, say: nobody knows that it is gone
        return True


def _open_model(release: Release, asked: Asked) -> _Model:
    segmenter = release.model.segmenter(asked.level)
    default = segmenter.conventions[0]
    convention = default if asked.convention is None else asked.convention
    convention_places([convention], segmenter.conventions)
    facts = PredictionRow(
        "",
        model_sha256=model_sha256(release.model.network),
        level=str(asked.level),
        threshold=f"{release.threshold:g}",
        convention=convention,
    )
    return _Model(segmenter, release.threshold, facts)


def _predict_one(
    model: _Model, table: PredictionTable, path: Path, mask: Path
) -> tuple[PredictionRow, bytes]:
    """The row of one radiograph and the PNG of its mask, empty when there is none to write."""
    facts = replace(model.facts, path=str(path.absolute()))
    try:
        radiograph = load_radiograph(path)
    except UnreadableError as error:
        log.warning("skipped: %s", error)
        return PredictionRow(facts.path, error=str(error)), b""
    for note in radiograph.notes:
        log.warning("%s: %s", shown(str(path)), note)
    facts = replace(
        facts,
        mask=str(table.folder / mask),
        radiograph_sha256=radiograph.sha256,
        notes="; ".join(radiograph.notes),
    )
    former = table.row_of(mask)
    # A row from before there were conventions is of the network's default.
    former = former and replace(former, convention=former.convention or model.default)
    if former and _same_answer(former, facts):
        return replace(former, path=facts.path, mask=facts.mask, notes=facts.notes), b""
    (probability,) = model.segmenter.predict([radiograph.pixels], None, [facts.convention])
    lung = (probability >= model.threshold).astype(np.uint8)
    png = _encode(lung * np.uint8(255), path)
    row = replace(
        facts,
        width=str(radiograph.pixels.shape[1]),
        height=str(radiograph.pixels.shape[0]),
        lung_area=f"{lung.mean():.4f}",
        mean_confidence=f"{confidence(probability):.4f}",
        mask_sha256=hashlib.sha256(png).hexdigest(),
    )
    return row, png


def _same_answer(former: PredictionRow, facts: PredictionRow) -> bool:
    names = ("radiograph_sha256", "notes", "model_sha256", "level", "threshold", "convention")
    return all(getattr(former, name) == getattr(facts, name) for name in names)


def confidence(probability: NDArray[np.float32]) -> float:
    """Mean over pixels of the probability of the class chosen at 0.5: 0.5 unsure, 1 certain."""
    return float(np.maximum(probability, 1 - probability).mean())


def _encode(mask: Grey, path: Path) -> bytes:
    encoded, png = cv2.imencode(".png", mask)
    if not encoded:
        raise DatasetError(f"{shown(str(path))}: its mask cannot be encoded as PNG; report it")
    return png.tobytes()


def _write(path: Path, png: bytes) -> None:
    try:
        with atomic_path(path) as partial:
            partial.write_bytes(png)
    except OSError as error:
        raise cannot_write(path, error) from None
