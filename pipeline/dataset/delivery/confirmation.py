"""A person's word on the annotation convention of pairs that are in data/."""

from __future__ import annotations

import csv
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from pipeline.conventions import IMPORT, PERSON, in_order
from pipeline.dataset.delivery.staging import link_tree
from pipeline.dataset.delivery.swap import (
    STAGING,
    VERSION_FILES,
    check_replaceable,
    has_data,
    importing,
    swap_data,
)
from pipeline.dataset.layout import IMAGES, MASKS, Listing, list_dataset, same_name
from pipeline.dataset.metadata.columns import letters
from pipeline.dataset.metadata.convention_file import (
    ConventionRow,
    recorded_conventions,
    write_recorded,
)
from pipeline.dataset.metadata.convention_names import refuse_misspelt, unusable_name
from pipeline.dataset.metadata.delimited import read_delimited
from pipeline.dataset.metadata.origins import read_origins, some
from pipeline.dataset.metadata.told_conventions import (
    SaidConvention,
    mask_files,
    told_conventions,
)
from pipeline.dataset.validation.populations import read_previous
from pipeline.dataset.versions.findings import project_limits
from pipeline.dataset.versions.new_pairs import new_pairs
from pipeline.errors import DatasetError
from pipeline.files import sha256_file
from pipeline.settings import Settings

LIST_COLUMN = "image_id"
"""Of a list of pairs."""
SEEN = ("mask_sha256", "convention", "convention_by")
"""What a list says of its pairs when it has the first of these, as that of the stage validate does:
how they were when it was written. Other columns are of no account."""


@dataclass(frozen=True)
class ChosenPairs:
    """Which pairs of data/ are meant: those named, or all for which the rest holds."""

    names: Sequence[str] = ()
    """`<class>/<name>`, or the path of the radiograph or mask."""
    list_file: Path | None = None
    """A table with a column LIST_COLUMN that names pairs, and perhaps those of SEEN."""
    classes: Sequence[str] = ()
    """Pairs of these classes; of all where there is none."""
    new: bool = False
    """Pairs that the version before does not have."""
    instead_of: str | None = None
    """Pairs that have this convention now."""

    @property
    def named(self) -> bool:
        """Whether pairs are given by name."""
        return bool(self.names or self.list_file)

    @property
    def renames(self) -> bool:
        """Whether a convention as a whole is renamed, for which nobody looks at its masks."""
        return self.instead_of is not None and not (self.classes or self.new)


@dataclass(frozen=True)
class Confirmation:
    """What became of a person's word."""

    convention: str
    pairs: dict[str, int]
    """Those that it was recorded for, by class."""
    before: dict[str, int]
    """Their conventions till now."""
    total: dict[str, int]
    """Pairs of data/ by convention, as it is now."""
    changed: bool
    """False when all of it was recorded already."""

    def summary(self) -> str:
        """Some lines for a person."""
        count = sum(self.pairs.values())
        classes = ", ".join(f"{name} {number}" for name, number in self.pairs.items())
        were = ", ".join(f"{name} {number}" for name, number in self.before.items())
        total = ", ".join(f"{name} {number}" for name, number in self.total.items())
        lines = [f"{self.convention}: recorded for {classes}; before: {were}", f"total: {total}"]
        message = shlex.quote(f"Record the convention {self.convention} of {count} pairs")
        commit = f"git add {' '.join(VERSION_FILES)} && git commit -m {message}"
        return "\n".join([*lines, f"commit it: {commit}" if self.changed else "nothing to commit"])


def confirm_convention(project: Path, convention: str, chosen: ChosenPairs) -> Confirmation:
    """Record as a person's word that the masks of the chosen pairs are drawn to `convention`.

    Where it is only renamed, a person's word stays one, and any other counts as an import's. The
    files `<class>.conventions.csv` change with data.dvc, all or nothing; what data/ is compared
    with stays. Raises DatasetError for a name that cannot be used or is likely another one
    misspelt, for pairs that are not there or are not as a list saw them, and when no pair is meant.
    """
    if problem := unusable_name(convention):
        raise DatasetError(f"convention: {problem}")
    with importing(project):
        try:
            check_replaceable(project, append=True)
            return _confirm(project, convention, chosen)
        except OSError as error:
            where, why = error.filename or project, error.strerror or error
            raise DatasetError(f"{where}: {why}; nothing was changed") from error


def _confirm(project: Path, convention: str, chosen: ChosenPairs) -> Confirmation:
    data, staging = project / "data", project / STAGING
    if not has_data(project):
        raise DatasetError(f"{data}: found no pairs, expected some; `lungseg data import` them")
    listing = list_dataset(data)
    now = _told(project, listing)
    listed = _listed(chosen.list_file) if chosen.list_file else {}
    meant = _meant(project, listing, now, chosen, listed)
    after = {image_id: one.convention for image_id, one in now.items()}
    after.update(dict.fromkeys(meant, convention))
    there = any(one.convention == convention for one in now.values())
    refuse_misspelt("convention", convention, Counter(after.values()), there=there)
    recorded = recorded_conventions(data)
    pairs = {pair.image_id: pair for pair in listing.pairs}
    masks = {image_id: sha256_file(data / pairs[image_id].mask) for image_id in meant}
    if chosen.list_file:
        _refuse_outdated(chosen.list_file, listed, convention, now, masks)
    for image_id, sha256 in masks.items():
        by = IMPORT if chosen.renames and now[image_id].by != PERSON else PERSON
        recorded[image_id] = ConventionRow(pairs[image_id].name, sha256, convention, by)
    link_tree(data, staging)
    changed = write_recorded(staging, recorded)
    if changed:
        swap_data(project, read_previous(project))
    return Confirmation(
        convention,
        _counted(image_id.partition("/")[0] for image_id in meant),
        _counted(now[image_id].convention for image_id in meant),
        _counted(after.values()),
        changed,
    )


def _told(project: Path, listing: Listing) -> dict[str, SaidConvention]:
    """What is said of each pair until now, wrong names too: they are what may be mended here."""
    data, limits = project / "data", project_limits(Settings(repo=str(project)))
    origins = read_origins(data, listing, limits.columns if limits else None)
    return told_conventions(data, listing, origins, mask_files(data, listing))


def _counted(names: Iterable[str]) -> dict[str, int]:
    counts = Counter(names)
    return {name: counts[name] for name in in_order(counts)}


def _meant(
    project: Path,
    listing: Listing,
    now: dict[str, SaidConvention],
    chosen: ChosenPairs,
    listed: Iterable[str],
) -> list[str]:
    """The image_ids of the chosen pairs, sorted; raises DatasetError when there is none."""
    described = bool(chosen.classes or chosen.new or chosen.instead_of is not None)
    if chosen.named == described:
        raise DatasetError(
            f"found {'pairs both named and described' if described else 'no pairs named'}, "
            "expected one of both; give PAIR... or --from FILE, or --class, --new or --instead-of"
        )
    if chosen.named:
        return sorted(set(_by_names([*chosen.names, *listed], set(now)).values()))
    meant = set(now)
    if chosen.classes:
        classes = _known_classes(chosen.classes, listing)
        meant = {image_id for image_id in meant if image_id.partition("/")[0] in classes}
    if chosen.instead_of is not None:
        meant &= _having(chosen.instead_of, now)
    if chosen.new:
        meant &= new_pairs(project)
    if not meant:
        raise DatasetError("found no pair for which all of this holds; give other options")
    return sorted(meant)


def _having(convention: str, now: dict[str, SaidConvention]) -> set[str]:
    found = {image_id for image_id, one in now.items() if one.convention == convention}
    if not found:
        known = ", ".join(in_order(one.convention for one in now.values()))
        raise DatasetError(
            f"--instead-of {convention}: no pair of data/ has it, expected one of {known}; "
            "correct the name"
        )
    return found


def _known_classes(classes: Sequence[str], listing: Listing) -> set[str]:
    known = sorted({pair.class_name for pair in listing.pairs})
    for name in classes:
        if name not in known:
            alike = [one for one in known if same_name(one) == same_name(name)]
            raise DatasetError(
                f"--class {name}: not in data/, expected one of {', '.join(known)}; "
                f"{f'write {alike[0]}' if alike else 'correct the name'}"
            )
    return set(classes)


def _listed(path: Path) -> dict[str, dict[str, str]]:
    """The pairs that a table names in its column LIST_COLUMN, and what it says of SEEN."""
    try:
        lines = list(read_delimited(path).lines.values())
    except (OSError, ValueError, csv.Error) as error:
        why = getattr(error, "strerror", None) or error
        raise DatasetError(
            f"{path}: not readable as .csv ({' '.join(str(why).split())[:160]}), expected a column "
            f"{LIST_COLUMN} of pairs; check the path"
        ) from None
    header = lines[0] if lines else {}
    columns = {letters(text): at for at, text in header.items()}
    column = columns.get(letters(LIST_COLUMN))
    names = [str(line.get(column or 0, "")) for line in lines[1:]]
    if column is None or not any(names):
        found = ", ".join(map(str, header.values()))[:160] or "nothing"
        raise DatasetError(
            f"{path}: found {found if column is None else 'no pair'}, expected a column "
            f"{LIST_COLUMN} that names pairs; give such a list"
        )
    seen = {name: at for name in SEEN if (at := columns.get(letters(name)))}
    if SEEN[0] not in seen:
        seen = {}
    return {
        name: {what: str(line.get(at, "")) for what, at in seen.items()}
        for name, line in zip(names, lines[1:], strict=True)
        if name
    }


def _refuse_outdated(
    path: Path,
    listed: Mapping[str, Mapping[str, str]],
    convention: str,
    now: Mapping[str, SaidConvention],
    masks: Mapping[str, str],
) -> None:
    """Raise DatasetError where a pair is not as the list saw it, and is to become another one.

    Somebody may have judged it since, or drawn another mask.
    """
    outdated = []
    for name, image_id in _by_names(list(listed), set(now)).items():
        said = now[image_id]
        found = dict(zip(SEEN, (masks[image_id], said.convention, said.by), strict=True))
        differs = any(found[what] != value for what, value in listed[name].items())
        if differs and (said.convention, said.by) != (convention, PERSON):
            outdated.append(name)
    if outdated:
        raise DatasetError(
            f"{path}: {len(outdated)} of its pairs changed since it was written "
            f"({some(outdated)}), expected them as they are listed; remove these lines, or let "
            "`dvc repro validate` write a new list"
        )


def _by_names(names: Sequence[str], known: set[str]) -> dict[str, str]:
    """The image_id that each name means."""
    found = {name: name if name in known else _image_id(name) for name in names}
    unknown = [name for name, image_id in found.items() if image_id not in known]
    if unknown:
        raise DatasetError(
            f"found {len(unknown)} pairs that data/ does not have ({some(unknown)}), expected "
            f"<class>/<name> such as {min(known)}; correct the names"
        )
    return found


def _image_id(name: str) -> str:
    """What the path of a radiograph or mask means: `data/COVID/masks/COVID-1.png` is COVID/COVID-1.

    The folders before count as little as the suffix.
    """
    parts = [part for part in PurePath(name).parts if part not in (IMAGES, MASKS)]
    return "/".join(parts[-2:]).removesuffix(".png")
