"""Which radiographs belong together: the same patient, the same picture, or nearly the same.

The patient of a radiograph, or without one the study, or the source, is its origin. A group is a
connected component: whoever shares an origin, a study, pixels or nearly the picture with a member
is a member too, and so is whoever shares the source with a member of which nothing else is known.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.dataset.metadata.folding import bare_words
from pipeline.dataset.splits.similarity import near_duplicates
from pipeline.errors import StageError
from pipeline.params import SplitParams

NAMED = 3
"""Patients that a refusal names."""
Links = NDArray[np.int64]
"""(links, 2): rows of the manifest that belong together."""


@dataclass(frozen=True)
class Grouping:
    """The group of each radiograph, and what made the groups."""

    names: pd.Series
    """Of each row the smallest image_id of its group."""
    merges: dict[str, int]
    """How many groups vanished by joining others, for each reason, in this order of reasons."""


def find_origins(manifest: pd.DataFrame, params: SplitParams) -> pd.Series:
    """Return the origin of each radiograph: `patient …`, `study …`, the source, or "" for none.

    A patient's name or number is the same person in all classes of a dataset. A study is of one
    patient; a source in `collections` says nothing about the patient. Raises StageError when a
    source that is not listed and that a radiograph without patient and study has is shared by more
    than `max_source_pairs`, or when a patient or study has more than `max_patient_pairs`.
    """
    patient, study = manifest["patient"].str.strip(), manifest["study"].str.strip()
    source = manifest["source"].str.strip()
    source = source.where(~source.map(lambda url: _is_collection(url, params.collections)), "")
    people = ("study " + study).where(study != "", "")
    people = people.where(patient == "", "patient " + patient)
    joining = source.where(people == "", "")
    _refuse_large_sources(source[source.isin(joining)], params.max_source_pairs)
    _refuse_large_patients(people.map(person_key), params.max_patient_pairs)
    return joining.where(people == "", people)


def person_key(origin: str) -> str:
    """What is equal for spellings of one patient or study: P-007, `p - 7` and P‐7 are one.

    Letters and digits alone count, without case, and without zeros before a number, which
    spreadsheets lose.
    """
    if not origin.startswith(("patient ", "study ")):
        return origin
    plain = unicodedata.normalize("NFKC", origin).casefold()
    words = bare_words(plain)
    return " ".join(words) if len(words) > 1 else plain


def _is_collection(source: str, collections: Iterable[str]) -> bool:
    """Whether an entry is this source or, with a * at its end, the beginning of it."""
    return any(
        source.startswith(entry[:-1]) if entry.endswith("*") else source == entry
        for entry in collections
    )


def _refuse_large_sources(source: pd.Series, most: int) -> None:
    shared = source[source != ""].value_counts()
    large = shared[shared > most].sort_index()
    if large.empty:
        return
    named = ", ".join(f"{url} by {count} radiographs" for url, count in large.items())
    raise StageError(
        f"split: one source is shared {named}, more than split.max_source_pairs={most}; add it to "
        "split.collections if it collects many patients, else raise split.max_source_pairs",
    )


def _refuse_large_patients(people: pd.Series, most: int) -> None:
    shared = people[people != ""].value_counts()
    large = shared[shared > most].sort_index()
    if large.empty:
        return
    named = ", ".join(f"{key} has {count} radiographs" for key, count in large[:NAMED].items())
    more = f" and {len(large) - NAMED} more" if len(large) > NAMED else ""
    raise StageError(
        f"split: {named}{more}, more than split.max_patient_pairs={most}; raise it if that is one "
        "person, else correct the sheets: where a patient is not known write `unknown`, since an "
        "empty cell takes the patient above it",
    )


def find_groups(manifest: pd.DataFrame, origins: pd.Series, distance: int) -> Grouping:
    """Group the radiographs; hashes that differ in at most `distance` bits are near-duplicates."""
    members = _Components(len(manifest))
    merges = {
        "origin": members.join(_equal(origins.map(person_key))),
        "source": members.join(_of_sources(manifest, origins)),
        "study": members.join(_of_studies(manifest)),
        "pixels": members.join(_equal(manifest["pixel_sha256"])),
        "near_duplicates": members.join(_near(manifest["perceptual_hash"], distance)),
    }
    image_ids = manifest["image_id"]
    return Grouping(image_ids.groupby(members.labels()).transform("min"), merges)


def _equal(values: pd.Series) -> Links:
    """Link each row to the first row of the same value; "" is no value."""
    rows = pd.Series(np.arange(len(values)), values.index)
    first = rows.groupby(values).transform("first")
    links = (values != "") & (first != rows)
    return np.stack([first[links], rows[links]], axis=1)


def _of_studies(manifest: pd.DataFrame) -> Links:
    """Link each radiograph without a patient to the others of its study.

    Those that have patients are not linked to each other: many sheets number the studies of each
    patient from 1.
    """
    study = ("study " + manifest["study"].str.strip()).map(person_key)
    study = study.where(manifest["study"].str.strip() != "", "")
    return _to_nameless(study, manifest["patient"].str.strip() == "")


def _of_sources(manifest: pd.DataFrame, origins: pd.Series) -> Links:
    """Link each radiograph whose origin is its source to all others of that source.

    Those may have patients, one of which it may be of.
    """
    source = manifest["source"].str.strip()
    return _to_nameless(source, origins == source)


def _to_nameless(values: pd.Series, nameless: pd.Series) -> Links:
    """Link each row to the first nameless one of the same value; "" is no value."""
    rows = pd.Series(np.arange(len(values)), values.index)
    first = rows.where(nameless).groupby(values).transform("first")
    links = (values != "") & first.notna() & (first != rows)
    return np.stack([first[links].to_numpy(np.int64), rows[links].to_numpy(np.int64)], axis=1)


def _near(hashes: pd.Series, distance: int) -> Links:
    """Link rows of near hashes. Equal ones are compared with the others only once."""
    first = ~hashes.duplicated().to_numpy()
    rows = np.flatnonzero(first)
    pairs = near_duplicates(list(hashes[first]), distance)
    return np.concatenate([_equal(hashes), rows[pairs]])


class _Components:
    """Connected components of rows 0 to count - 1 (union-find with path halving)."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def join(self, links: Links) -> int:
        """Join both ends of each link; returns how many components vanished."""
        vanished = 0
        for one, other in links.tolist():
            first, second = self._root(one), self._root(other)
            if first != second:
                self._parent[max(first, second)] = min(first, second)
                vanished += 1
        return vanished

    def labels(self) -> NDArray[np.int64]:
        """One row of its component for each row, the same for all of a component."""
        return np.array([self._root(row) for row in range(len(self._parent))], np.int64)

    def _root(self, row: int) -> int:
        parent = self._parent
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row
