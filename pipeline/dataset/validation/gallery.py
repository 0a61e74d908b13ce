"""A dataset at a glance: what was set aside, what is odd, and how its classes differ, in pictures.

One page that stands by itself, for a radiologist or a data steward. Only the pairs that it shows
are decoded, so that its cost hardly grows with the dataset.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from pipeline.dataset.validation.convention_counts import (
    ConventionCount,
    tabulate_conventions,
)
from pipeline.dataset.validation.doubtful_gallery import show_doubtful
from pipeline.dataset.validation.drift import PREVIOUS_VERSION, ShiftRow, shift_limit
from pipeline.dataset.validation.populations import QUANTITIES
from pipeline.dataset.validation.tiles import (
    draw_mean_masks,
    draw_mean_radiograph,
    draw_pair,
    draw_quarantined,
)
from pipeline.dataset.validation.whole import DatasetTables
from pipeline.files import atomic_path
from pipeline.params import ValidateParams
from pipeline.pictures.charts import draw_distributions
from pipeline.pictures.overlay import draw_swatch
from pipeline.pictures.pages import encode_png, load_template
from pipeline.table_files import rows_of

SHOWN = 48  # pictures of a section
EXAMPLES = 4  # typical pairs of a class, and of what it is compared with
MOST_SHIFTS = 12  # shown in pictures

# Controls, zero-width and direction marks.
HIDDEN = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


@dataclass(frozen=True)
class ClassRow:
    """A class in the page's first table."""

    name: str
    quarantined: int
    pairs: int
    flagged: int
    area: list[float] | None
    """Of the lung: 5th percentile, median and 95th percentile; None without pairs."""
    intensity: float | None
    """Mean grey value, 0..255."""


@dataclass(frozen=True)
class Comparison(ShiftRow):
    """A row of the shift table."""

    stands_out: bool
    """Whether it is beyond its limit in the section validate of params.yaml."""


@dataclass(frozen=True)
class Tile:
    """One picture and what is written below it."""

    title: str
    picture: bytes | None
    """A JPEG; None when the file cannot be shown."""
    facts: list[str]


@dataclass(frozen=True)
class PageSection:
    """The tiles of one flag, or of the quarantine; `count` may be more than they are."""

    name: str
    count: int
    tiles: list[Tile]


@dataclass(frozen=True)
class Shift:
    """How one quantity of one class differs, in words and pictures."""

    class_name: str
    """With its convention where the dataset has several and the quantity is of masks."""
    quantity: str
    subjects: list[str]
    remedy: str
    means: dict[str, bytes | None] = field(default_factory=dict)
    found: list[Tile] = field(default_factory=list)
    expected: list[Tile] = field(default_factory=list)


def write_page(folder: Path, data: Path, tables: DatasetTables, params: ValidateParams) -> None:
    """Write `folder`/index.html about the dataset in `data`.

    Shifts beyond the limits of `params` are shown in pictures. A file that cannot be read gets a
    placeholder.
    """
    manifest, quarantine = tables.manifest, tables.quarantine
    comparisons = _comparisons(tables.shifts, params)
    page = load_template(Path(__file__).with_name("gallery.html.jinja"), _percent)
    text = page.render(
        classes=_classes(manifest, quarantine),
        pairs=len(manifest),
        quarantined=len(quarantine),
        flagged=_flagged(manifest).sum(),
        reasons=quarantine["reason"].value_counts().sort_index().to_dict(),
        conventions=rows_of(tabulate_conventions(manifest), ConventionCount),
        charts=_charts(manifest),
        comparisons=comparisons,
        shifts=_shifts(data, manifest, comparisons),
        doubtful=show_doubtful(data, tables),
        quarantine=_quarantine(data, quarantine),
        flags=_flags(data, manifest),
        swatches={kind: encode_png(draw_swatch(kind)) for kind in ("missed", "extra")},
    )
    with atomic_path(folder / "index.html") as partial:
        partial.write_text(_printable(text), encoding="utf-8")


def _percent(share: float) -> str:
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def _printable(text: str) -> str:
    """Text without what a file's name may hold to hide or turn what stands beside it."""
    return HIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)


def _flagged(manifest: pd.DataFrame) -> pd.Series:
    return manifest["flags"].fillna("").astype(str).ne("")


def _classes(manifest: pd.DataFrame, quarantine: pd.DataFrame) -> list[ClassRow]:
    """A row per class, in the order of their names."""
    aside = Counter(map(_class_of, quarantine["path"]))
    good = {str(name): pairs for name, pairs in manifest.groupby("class_name")}
    return [
        _class_row(name, good.get(name, manifest.iloc[:0]), aside[name])
        for name in sorted(good.keys() | aside.keys())
    ]


def _class_of(path: str) -> str:
    parts = PurePosixPath(str(path)).parts
    return parts[0] if len(parts) > 1 and parts[0] not in ("..", "/") else "(no class)"


def _class_row(name: str, pairs: pd.DataFrame, quarantined: int) -> ClassRow:
    area = pairs["lung_area"].quantile([0.05, 0.5, 0.95]).tolist() if len(pairs) else None
    intensity = float(pairs["mean"].mean()) if len(pairs) else None
    flagged = int(_flagged(pairs).sum())
    return ClassRow(name, quarantined, len(pairs), flagged, area, intensity)


def _charts(manifest: pd.DataFrame) -> dict[str, str]:
    if manifest.empty:
        return {}
    named = manifest.assign(class_name=manifest["class_name"].map(_printable))
    return {
        "lung area": draw_distributions(named, "lung_area", "Share of the mask that is lung"),
        "intensity": draw_distributions(named, "mean", "Mean grey value, 0 to 255"),
    }


def _comparisons(shifts: pd.DataFrame, params: ValidateParams) -> list[Comparison]:
    """All that was compared, the largest differences first."""
    known = shifts[np.isfinite(shifts["shift"].astype(float))]
    ranked = known.assign(size=known["shift"].abs()).sort_values(
        ["size", "subject"], ascending=[False, True]
    )
    return [
        Comparison(**asdict(row), stands_out=abs(row.shift) > shift_limit(row.quantity, params))
        for row in rows_of(ranked, ShiftRow)
    ]


def _shifts(data: Path, manifest: pd.DataFrame, compared: list[Comparison]) -> list[Shift]:
    """Those that stand out, with pictures: one per class, convention and quantity."""
    shown: dict[tuple[str, str, str], list[Comparison]] = {}
    for row in compared:
        if row.stands_out:
            key = (row.class_name, row.convention, row.quantity)
            shown.setdefault(key, []).append(row)
    return [_shift(data, manifest, rows) for rows in list(shown.values())[:MOST_SHIFTS]]


def _shift(data: Path, manifest: pd.DataFrame, rows: list[Comparison]) -> Shift:
    first, column = rows[0], QUANTITIES[rows[0].quantity].column
    drawn = f", {first.convention}" if first.convention else ""
    alike = manifest[manifest["convention"] == first.convention] if drawn else manifest
    ours = alike["class_name"] == first.class_name
    pairs, others = alike[ours], alike[~ours]
    means = {} if others.empty else _means(data, first.quantity, pairs, others)
    found = _nearest(pairs, column, first.found)
    rest = (pairs if others.empty else others).drop(found.index, errors="ignore")
    expected = _nearest(rest, column, first.reference)
    subjects = [f"{row.subject} ({row.shift:+.1f})" for row in rows]
    new = [row.remedy for row in rows if row.against == PREVIOUS_VERSION]
    tiles = (_pair_tiles(data, found), _pair_tiles(data, expected))
    name = f"{first.class_name}{drawn}"
    return Shift(name, first.quantity, subjects, [*new, first.remedy][0], means, *tiles)


def _means(
    data: Path, quantity: str, pairs: pd.DataFrame, others: pd.DataFrame
) -> dict[str, bytes | None]:
    if quantity == "lung_area":
        return {"masks": draw_mean_masks(data, pairs, others)}
    return {
        "this class": draw_mean_radiograph(data, pairs),
        "the other classes": draw_mean_radiograph(data, others),
    }


def _nearest(pairs: pd.DataFrame, column: str, value: float) -> pd.DataFrame:
    """The typical ones: those whose `column` is nearest to `value`."""
    distance = (pairs[column] - value).abs()
    ranked = pairs.assign(distance=distance).sort_values(["distance", "image_id"])
    return ranked.head(EXAMPLES)


def _pair_tiles(data: Path, pairs: pd.DataFrame) -> list[Tile]:
    return [
        Tile(
            str(pair["image_id"]),
            draw_pair(data, pair),
            [f"lung area {100 * pair['lung_area']:.1f} %, mean grey value {pair['mean']:.0f}"],
        )
        for _, pair in pairs.iterrows()
    ]


def _flags(data: Path, manifest: pd.DataFrame) -> list[PageSection]:
    """The flagged pairs by flag, the oddest first where there is a measure of it."""
    flags = manifest["flags"].fillna("").astype(str).str.split()
    groups = []
    for flag in sorted({name for names in flags for name in names}):
        pairs = manifest[flags.map(lambda names, flag=flag: flag in names)]
        ranked = pairs.assign(oddity=_oddity(flag, pairs, manifest))
        ranked = ranked.sort_values(["oddity", "image_id"], ascending=[False, True])
        groups.append(PageSection(flag, len(pairs), _pair_tiles(data, ranked.head(SHOWN))))
    return groups


def _oddity(flag: str, pairs: pd.DataFrame, manifest: pd.DataFrame) -> pd.Series | float:
    if flag == "stray_components":
        return pairs["components"]
    if flag == "one_lung":
        return (pairs["left_share"] - 0.5).abs()
    if flag == "implausible_area":
        return (pairs["lung_area"] - manifest["lung_area"].median()).abs()
    return 0.0


def _quarantine(data: Path, quarantine: pd.DataFrame) -> PageSection:
    """What was set aside, so that every reason is among what is shown."""
    within = quarantine.groupby("reason").cumcount()
    shown = quarantine.assign(within=within).sort_values(["within", "reason", "path"]).head(SHOWN)
    tiles = [
        Tile(
            str(row["path"]),
            draw_quarantined(data, str(row["path"]), str(row["reason"])),
            [str(row[name]) for name in ("reason", "found", "remedy")],
        )
        for _, row in shown.sort_values(["reason", "path"]).iterrows()
    ]
    return PageSection("quarantine", len(quarantine), tiles)
