"""The charts of the visual report, as SVG text that is the same for the same numbers.

What a chart tells apart by colour it tells apart by form or place as well.
"""

from __future__ import annotations

import io
import warnings
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

BLUE, ORANGE, INK, GRID = "#0072B2", "#B35900", "#222222", "#d8d8d8"
FONT = "DejaVu Sans"  # shipped with matplotlib, so present everywhere
STYLE = {
    "svg.hashsalt": "lungseg",  # element ids from the content, not from chance
    "font.family": FONT,
    "font.size": 10.5,
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "lines.markeredgewidth": 0,
    "lines.markersize": 4,
    "text.parse_math": False,  # a $ in the name of a class is a $
}
LONGEST_LABEL = 30  # letters of a class in a chart; the page's tables have all of them
MANY = 400  # dots of a class beyond which they become one picture inside the SVG


def draw_dice(table: pd.DataFrame) -> str:
    """A dot per image of per_image.parquet on a Dice axis, a row per class with its median."""
    return draw_strips(
        table, "dice", "Dice (1 = the prediction equals the reference mask)", right=1
    )


def draw_strips(
    table: pd.DataFrame,
    column: str,
    label: str,
    left: float | None = None,
    right: float | None = None,
) -> str:
    """A dot per image of `table` on an axis of `column`, a row per class with its median."""
    classes = sorted(table["class_name"].unique())
    with rc_context(STYLE):
        figure = Figure(figsize=(5.8, 0.8 + 0.65 * len(classes)), layout="constrained")
        axes = figure.subplots()
        for row, name in enumerate(classes):
            _strip(axes, row, table.loc[table["class_name"] == name, column].to_numpy())
        counts = table["class_name"].value_counts()
        axes.set_yticks(
            range(len(classes)), [f"{class_label(name)}\n(n = {counts[name]})" for name in classes]
        )
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.set_ylim(len(classes) - 0.45, -0.55)
        axes.set_xlim(left=left, right=right)
        axes.set_xlabel(label)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        return to_svg(figure)


def _strip(axes: Axes, row: int, values: NDArray[np.float64]) -> None:
    # Multiples of the golden ratio spread neighbours evenly, without chance.
    offset = (np.arange(len(values)) * 0.618034) % 1 - 0.5
    height, crowded = row + 0.5 * offset, len(values) > MANY
    axes.plot(
        np.sort(values), height, "o", color=BLUE, alpha=0.55, clip_on=False, rasterized=crowded
    )
    axes.vlines(np.median(values), row - 0.36, row + 0.36, color=INK, linewidth=2.5)


def draw_distributions(table: pd.DataFrame, column: str, label: str) -> str:
    """Histograms of a column of the manifest, a row per class on a common axis, median marked."""
    classes = sorted(table["class_name"].unique())
    edges = np.histogram_bin_edges(table[column], bins=min(40, max(12, len(table) // 10)))
    with rc_context(STYLE):
        figure = Figure(figsize=(5.2, 0.75 + 0.6 * len(classes)), layout="constrained")
        axes = figure.subplots()
        for row, name in enumerate(classes):
            values = table.loc[table["class_name"] == name, column].to_numpy()
            share, _ = np.histogram(values, edges)
            axes.stairs(
                row + 0.35 - 0.75 * share / share.max(),
                edges,
                baseline=row + 0.35,
                fill=True,
                color=BLUE,
                alpha=0.55,
            )
            axes.vlines(np.median(values), row - 0.42, row + 0.38, color=INK, linewidth=2)
        axes.set_yticks(range(len(classes)), list(map(class_label, classes)))
        axes.set_ylim(len(classes) - 0.45, -0.6)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.set_xlabel(label)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        return to_svg(figure)


def draw_curves(history: pd.DataFrame, name: Literal["loss", "dice"], best_epoch: int) -> str:
    """Training and validation `name` over the epochs of history.csv, `best_epoch` marked."""
    with rc_context(STYLE):
        figure = Figure(figsize=(5.2, 3.4), layout="constrained")
        axes = figure.subplots()
        epochs, training, validation = history["epoch"], history[name], history[f"val_{name}"]
        axes.plot(epochs, training, "o-", color=BLUE, label="training")
        axes.plot(epochs, validation, "s--", color=ORANGE, label="validation")
        axes.axvline(best_epoch, color=INK, linestyle=":", label=f"best epoch ({best_epoch})")
        axes.set_xlabel("Epoch")
        axes.set_ylabel({"loss": "Loss (lower is better)", "dice": "Dice (higher is better)"}[name])
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid()
        figure.legend(loc="outside upper center", ncols=3, frameon=False, columnspacing=1.2)
        return to_svg(figure)


def to_svg(figure: Figure) -> str:
    """The figure as SVG text, the same for the same figure."""
    text = io.StringIO()
    letters = "path" if _drawable(figure) else "none"
    with rc_context({"svg.fonttype": letters}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from font")
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def class_label(name: str) -> str:
    """The name of a class in a chart: not too long, and no `_` first, which a legend would hide."""
    if len(name) > LONGEST_LABEL:
        half = LONGEST_LABEL // 2
        name = f"{name[:half]}…{name[1 - half :]}"
    return f"\N{NO-BREAK SPACE}{name}" if name.startswith("_") else name


def _drawable(figure: Figure) -> bool:
    """Whether our font has every letter; those of other scripts are left to the reader's fonts."""
    known = get_font(findfont(FONT)).get_charmap()
    words = "".join(text.get_text() for text in figure.findobj(Text))
    return all(ord(letter) in known for letter in words if letter != "\n")
