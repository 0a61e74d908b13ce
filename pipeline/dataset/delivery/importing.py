"""Importing a delivery of radiographs and masks into data/: all of it or nothing."""

from __future__ import annotations

import logging
import shlex
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.dataset.delivery.carried_conventions import carry_conventions, refuse_option
from pipeline.dataset.delivery.known_names import class_problems, named_as_in_data
from pipeline.dataset.delivery.listing import DeliveryListing, list_delivery
from pipeline.dataset.delivery.member_names import OPTION, MemberNaming, check_code_page
from pipeline.dataset.delivery.sheets import place_sheet, read_sheets
from pipeline.dataset.delivery.staging import Folders, Outcome, link_tree, place_pairs
from pipeline.dataset.delivery.swap import (
    DELIVERY,
    STAGING,
    VERSION_FILES,
    check_replaceable,
    has_data,
    importing,
    swap_data,
)
from pipeline.dataset.layout import (
    list_dataset,
)
from pipeline.dataset.metadata.convention_names import unusable_name
from pipeline.dataset.metadata.origins import is_table
from pipeline.dataset.validation.populations import Profile, read_previous
from pipeline.dataset.versions.findings import find_findings, project_limits
from pipeline.dataset.zips import extract
from pipeline.errors import DatasetError
from pipeline.settings import Settings
from pipeline.workspace.objects import parse_pointer

logger = logging.getLogger(__name__)

SHOWN, LOGGED = 3, 100
"""Problems that the error names, and that the log lists."""


@dataclass(frozen=True)
class ImportResult:
    """What an import did to data/."""

    added: dict[str, int]
    """New pairs per class."""
    skipped: int
    """Delivered pairs that data/ held already, byte for byte."""
    total: int
    """Pairs in data/ now."""
    replaced: bool
    """Whether another dataset was in data/ before."""
    joined: int
    """Delivered pairs whose lungs came in two masks."""
    renamed: int
    """Delivered masks that take the names of their radiographs."""
    labels: int
    """New masks of other values than 0 and 1 or 255, which were taken for lung."""
    left_out: list[str]
    """Delivered files that are no part of the layout, such as a README."""
    changed: bool
    """False when data/ held everything already."""
    sheets: list[str] = field(default_factory=list)
    """Lines on what became of recorded conventions, on each metadata sheet of the dataset, and on
    what of it is not used."""

    @property
    def commit(self) -> str | None:
        """The shell command that commits the import; None when nothing changed."""
        if not self.changed:
            return None
        what = ", ".join(f"{count} {name}" for name, count in self.added.items())
        message = f"Import {what}" if what else "Import metadata"
        return f"git add {' '.join(VERSION_FILES)} && git commit -m {shlex.quote(message)}"

    def summary(self) -> str:
        """One paragraph for a person."""
        what = ", ".join(f"{name} {count}" for name, count in self.added.items()) or "none"
        lines = [f"added pairs: {what}; skipped as identical: {self.skipped}; total: {self.total}"]
        counts = {
            "joined of a left and a right lung": self.joined,
            "renamed after their radiographs": self.renamed,
            "taken for lung by their labels": self.labels,
        }
        found = ", ".join(f"{what} {count}" for what, count in counts.items() if count)
        if found:
            lines.append(f"masks: {found}")
        if self.left_out:
            lines.append(f"left out, no part of the layout: {', '.join(self.left_out)}")
        if any(map(is_table, self.left_out)):
            lines.append("a table is read when it is named <class>.metadata.xlsx or .csv")
        lines += self.sheets
        if self.replaced:
            lines.append(
                "the former dataset stays: `git checkout REV data.dvc data.previous.json && "
                "dvc checkout`"
            )
        lines.append(f"commit it: {self.commit}" if self.commit else "nothing to commit")
        return "\n".join(lines)


def import_dataset(
    source: Path,
    project: Path,
    append: bool = False,
    code_page: str | None = None,
    convention: str | None = None,
) -> ImportResult:
    """Check the folder or zip `source`, make it the dataset of `project` and `dvc add` it.

    `source` has the layout of the COVID-19 Radiography Database, possibly in a wrapping folder.
    Without `append` it replaces data/, which must be known to DVC and git; with `append` its
    pairs join those of data/, identical ones are skipped and a name that stands for other content
    is refused. `code_page` is that of a zip's names, where they do not say and do not suggest the
    right one. The pairs that are delivered get the annotation convention `convention`, but for
    those of which a person says another; what was recorded of masks that stay is kept. Raises
    DatasetError, or CrashedError when a process is killed, and changes nothing unless everything is
    good.
    """
    source, project = source.absolute(), project.absolute()
    if convention is not None and (problem := unusable_name(convention)):
        raise DatasetError(f"--convention: {problem}")
    with importing(project):
        try:
            check_replaceable(project, append)
            delivery = _open(source, project, code_page)
            return _import(delivery, source, project, append, convention)
        except OSError as error:
            where, why = error.filename or project, error.strerror or error
            raise DatasetError(f"{where}: {why}; nothing was changed") from error


def _import(
    delivery: DeliveryListing, source: Path, project: Path, append: bool, convention: str | None
) -> ImportResult:
    former = project / "data"
    replaced = not append and has_data(project)
    # When replacing, nothing is present: every pair is new.
    present = former if append else project / STAGING / "nothing"
    folders = Folders(delivery.root, present, project / STAGING, move=source.is_file())
    folders.staging.mkdir()
    if append and has_data(project):
        link_tree(former, folders.staging)
    delivery = named_as_in_data(delivery, present)
    problems = [*delivery.problems, *class_problems(delivery, present)]
    outcomes = place_pairs(delivery.pairs, folders)
    problems += [problem for outcome in outcomes for problem in outcome.problems]
    names = _names_of_columns(project)
    sheets = [place_sheet(name, folders, names, problems) for name in delivery.sheets]
    if convention is not None:
        refuse_option(convention, delivery, folders.staging, names)
    carried = carry_conventions(delivery, folders, former, convention, problems)
    told = read_sheets(delivery.sheets, folders, names, problems)
    _refuse(delivery, source, problems)
    delivered = any(sheets) or not all(outcome.skipped for outcome in outcomes)
    changed = delivered or carried.changed
    if changed:
        swap_data(project, _previous(project, append, delivered))
    return _result(outcomes, delivery, project, replaced, changed, [*carried.told, *told])


def _previous(project: Path, append: bool, delivered: bool) -> Profile:
    """What the new version is compared with; one that has nothing new with what was before."""
    if append and not delivered:
        return read_previous(project)
    if not append or not has_data(project):
        return Profile()  # a replacement is a dataset of its own, and its own first version
    pointer = parse_pointer((project / "data.dvc").read_text(encoding="utf-8"), "data.dvc")
    manifest, _ = find_findings(Settings(repo=str(project)), pointer.md5, project / "data")
    return Profile.of(manifest, pointer.md5)


def _open(source: Path, project: Path, code_page: str | None) -> DeliveryListing:
    if code_page is not None:
        check_code_page(code_page)
    if source.is_dir():
        if code_page is not None:
            raise DatasetError(f"{source}: is a folder, expected a zip for {OPTION}; leave it out")
        data = project / "data"
        if source.resolve() in (project.resolve(), data.resolve(), *data.resolve().parents):
            raise DatasetError(f"{source}: holds data/ itself; give a folder outside the project")
        return list_delivery(source)
    if not source.is_file():
        raise DatasetError(f"{source}: no such folder or zip; check the path")
    extract(source, project / DELIVERY, MemberNaming(source, code_page))
    try:
        return list_delivery(project / DELIVERY)
    except DatasetError as error:
        raise DatasetError(str(error).replace(str(project / DELIVERY), str(source), 1)) from None


def _names_of_columns(project: Path) -> dict[str, list[str]] | None:
    limits = project_limits(Settings(repo=str(project)))
    return limits.columns if limits else None


def _refuse(delivery: DeliveryListing, source: Path, problems: list[str]) -> None:
    if not problems:
        return
    for problem in problems[:LOGGED]:
        logger.warning("%s", problem)
    more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    plural = "s" if len(problems) > 1 else ""
    where = delivery.root if source.is_dir() else "the folder that it unpacks to"
    commands = f" (commands are for {where})" if "`mv " in "".join(problems[:SHOWN]) else ""
    raise DatasetError(
        f"{source}: {len(problems)} problem{plural}, nothing was imported; correct the "
        f"delivery or take these files out{commands}: {'; '.join(problems[:SHOWN])}{more}",
    )


def _result(
    outcomes: list[Outcome],
    delivery: DeliveryListing,
    project: Path,
    replaced: bool,
    changed: bool,
    sheets: list[str],
) -> ImportResult:
    added = Counter(outcome.pair.class_name for outcome in outcomes if not outcome.skipped)
    return ImportResult(
        added=dict(sorted(added.items())),
        skipped=sum(outcome.skipped for outcome in outcomes),
        total=len(list_dataset(project / "data").pairs),
        replaced=replaced,
        joined=sum(len(one.masks) == 2 for one in delivery.pairs),
        renamed=sum(
            len(one.masks) == 1 and one.masks[0].stem != one.image.stem for one in delivery.pairs
        ),
        labels=sum(outcome.has_labels for outcome in outcomes),
        left_out=delivery.left_out,
        changed=changed,
        sheets=sheets,
    )
