"""The charts of what a model gets wrong: distances, calibration, robustness, failure, places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, PercentFormatter
from numpy.typing import NDArray

from pipeline.pictures.charts import (
    BLUE,
    INK,
    ORANGE,
    STYLE,
    class_label,
    draw_strips,
    to_svg,
)

COLOURS = (BLUE, ORANGE, "#009E73", "#7A3E8E", "#5A5A5A", "#56B4E9", "#8C6D00")
MARKERS = "os^Dv*P"
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (7, 2)))
LOWEST_RANGE = 0.05  # Dice that an axis spans at least: noise does not look like a fall


@dataclass(frozen=True)
class Series:
    """A curve and its name; `x` and `y` float64 (n,)."""

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]


def draw_distances(table: pd.DataFrame) -> str:
    """A dot per image on an axis of HD95 in pixels, a row per class with its median."""
    return draw_strips(table, "hd95", "HD95 in pixels of the mask (0 = the outlines agree)", left=0)


def draw_reliability(bins: pd.DataFrame, classes: Sequence[str], count: int) -> str:
    """Share of lung against mean probability for the bins of calibration.csv, a line per class.

    There are `count` bins of equal width, of which `bins` has those that hold pixels.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(5.2, 5.0), layout="constrained")
        axes, counts = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
        axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=":", label="perfect")
        for place, name in enumerate(classes):
            found = bins[(bins["class_name"] == name) & (bins["pixels"] > 0)]
            _line(
                axes, place, Series(name, found["probability"].to_numpy(), found["lung"].to_numpy())
            )
        axes.set_ylabel("Share of pixels that are lung")
        axes.set_ylim(-0.02, 1.02)
        axes.grid()
        pooled = bins.groupby("bin")["pixels"].sum()
        width = 1 / count
        share = pooled / max(pooled.sum(), 1)
        counts.bar((pooled.index + 0.5) * width, share, 0.9 * width, color=BLUE, alpha=0.55)
        counts.set_yscale("log")
        counts.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
        counts.yaxis.set_minor_formatter(NullFormatter())
        counts.set_ylabel("Share of\nall pixels")
        counts.set_xlabel("Predicted probability of lung")
        counts.set_xlim(0, 1)
        figure.legend(loc="outside upper center", ncols=3, frameon=False, columnspacing=1.2)
        return to_svg(figure)


def draw_robustness(table: pd.DataFrame, classes: Sequence[str]) -> str:
    """Mean Dice against the strength of each perturbation of robustness.parquet, line per class."""
    names = list(dict.fromkeys(table["perturbation"]))
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(2.5 * columns + 0.6, 2.3 * rows + 0.6), layout="constrained")
        grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
        for axes in grid.flat[len(names) :]:
            axes.set_visible(False)
        for axes, name in zip(grid.flat, names, strict=False):
            _perturbed(axes, name, table[table["perturbation"] == name], classes)
        low = float(table.groupby(["perturbation", "grade", "class_name"])["dice"].mean().min())
        grid.flat[0].set_ylim(min(low - 0.02, 1 - LOWEST_RANGE), 1)
        for axes in grid[:, 0]:
            axes.set_ylabel("Mean Dice")
        handles, labels = grid.flat[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside upper center", ncols=4, frameon=False, columnspacing=1.2
        )
        return to_svg(figure)


def _perturbed(axes: Axes, name: str, table: pd.DataFrame, classes: Sequence[str]) -> None:
    steps = table.groupby("grade")["strength"].first()
    units = [unit for unit in table["unit"].unique() if unit]
    labels = [_amount(strength) if grade else "0" for grade, strength in steps.items()]
    labels[0] = "none"
    for place, class_name in enumerate(classes):
        means = table[table["class_name"] == class_name].groupby("grade")["dice"].mean()
        _line(axes, place, Series(class_name, means.index.to_numpy(float), means.to_numpy()))
    axes.set_title(name, fontsize=10.5)
    axes.set_xticks(list(steps.index), labels)
    axes.tick_params(axis="x", labelsize=9)
    axes.set_xlabel(units[0] if units else "strength", fontsize=8.5)
    axes.grid()


def _amount(strength: float) -> str:
    return f"{strength:.3g}"


def draw_risk_coverage(series: Sequence[Series]) -> str:
    """Mean error (1 - Dice) of the radiographs kept, against the share kept, a line per score."""
    with rc_context(STYLE):
        figure = Figure(figsize=(5.6, 3.9), layout="constrained")
        axes = figure.subplots()
        for place, one in enumerate(series):
            axes.plot(
                one.x,
                one.y,
                color=COLOURS[place % len(COLOURS)],
                linestyle=LINES[place % len(LINES)],
                linewidth=1.8,
                label=one.name,
            )
        axes.set_xlabel("Share of the radiographs kept, the surest first")
        axes.set_ylabel("Mean 1 - Dice of those kept")
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_xlim(0, 1)
        axes.set_ylim(bottom=0)
        axes.grid()
        figure.legend(loc="outside upper center", ncols=2, frameon=False, columnspacing=1.2)
        return to_svg(figure)


def draw_error_map(lung: NDArray[Any], maps: Mapping[str, NDArray[Any]]) -> str:
    """Shares at each place, 0..1, all (n, n): a picture per entry of `maps`, on one scale.

    The outline is of the mean lung, where `lung` is half.
    """
    most = max(0.01, *(float(shares.max()) for shares in maps.values()))
    with rc_context(STYLE | {"axes.spines.left": False, "axes.spines.bottom": False}):
        figure = Figure(figsize=(3.0 * len(maps) + 0.9, 3.2), layout="constrained")
        grid = figure.subplots(1, len(maps), squeeze=False)[0]
        for axes, (name, shares) in zip(grid, maps.items(), strict=True):
            picture = axes.imshow(shares, cmap="cividis", vmin=0, vmax=most)
            axes.contour(lung, [0.5], colors="white", linewidths=1.0)
            axes.set_title(name, fontsize=10.5)
            axes.set_xticks([])
            axes.set_yticks([])
            for side, letter, aside in (("left", "R", 0.04), ("right", "L", 0.96)):
                axes.text(
                    aside, 0.96, letter, color="white", ha=side, va="top", transform=axes.transAxes
                )
        bar = figure.colorbar(picture, ax=list(grid), shrink=0.9)
        bar.ax.yaxis.set_major_locator(MaxNLocator(5))
        bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0 if most > 0.06 else 1))
        bar.outline.set_visible(False)
        return to_svg(figure)


def _line(axes: Axes, place: int, one: Series) -> None:
    style = place % len(COLOURS)
    form = (place + place // len(COLOURS)) % len(COLOURS)  # another one when colours come again
    axes.plot(
        one.x,
        one.y,
        color=COLOURS[style],
        marker=MARKERS[form],
        linestyle=LINES[form],
        label=class_label(one.name),
    )
