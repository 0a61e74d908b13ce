"""Which radiographs belong together: the same patient, the same picture, or nearly the same.

The patient, or without one the source, of a radiograph is its origin. A group is a connected
component: whoever shares an origin, pixels or nearly the picture with a member is a member too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.dataset.splits.similarity import near_duplicates
from pipeline.errors import StageError
from pipeline.params import SplitParams

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
    """Return the origin of each radiograph, `patient …`, the source or "" for none.

    A patient's name or number is the same person in all classes of a dataset. A source in
    `collections` says nothing about the patient. Raises StageError when a source that is not listed
    is shared by more than `max_source_pairs` radiographs without a patient.
    """
    patient = manifest["patient"].str.strip()
    source = manifest["source"].str.strip()
    source = source.where(~source.map(lambda url: _is_collection(url, params.collections)), "")
    source = source.where(patient == "", "")
    _refuse_large_sources(source, params.max_source_pairs)
    return source.where(patient == "", "patient " + patient)


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


def find_groups(manifest: pd.DataFrame, origins: pd.Series, distance: int) -> Grouping:
    """Group the radiographs; hashes that differ in at most `distance` bits are near-duplicates."""
    members = _Components(len(manifest))
    merges = {
        "origin": members.join(_equal(origins)),
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
