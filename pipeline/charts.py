"""The charts of the visual report, as SVG text that is the same for the same numbers.

The dots of a chart are told apart by form and place as well as by colour.
"""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

BLUE, ORANGE, INK, GRID = "#0072B2", "#B35900", "#222222", "#d8d8d8"
STYLE = {
    "svg.hashsalt": "lungseg",  # element ids from the content, not from chance
    "font.family": "DejaVu Sans",  # shipped with matplotlib, so present everywhere
    "font.size": 11,
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
}
MANY = 400  # dots of a class beyond which they become one picture inside the SVG


def draw_dice(table: pd.DataFrame) -> str:
    """A dot per image of per_image.parquet on a Dice axis, a row per class with its median."""
    classes = sorted(table["class_name"].unique())
    with rc_context(STYLE):
        figure = Figure(figsize=(8.4, 0.9 + 0.75 * len(classes)), layout="constrained")
        axes = figure.subplots()
        for row, name in enumerate(classes):
            _strip(axes, row, table.loc[table["class_name"] == name, "dice"].to_numpy())
        counts = table["class_name"].value_counts()
        axes.set_yticks(range(len(classes)), [f"{name}\n(n = {counts[name]})" for name in classes])
        axes.set_ylim(len(classes) - 0.45, -0.55)
        axes.set_xlim(right=1.0)
        axes.set_xlabel("Dice (1 = the prediction equals the reference mask)")
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        return _svg(figure)


def _strip(axes: Axes, row: int, dice: np.ndarray) -> None:
    # Multiples of the golden ratio spread neighbours evenly, without chance.
    offset = (np.arange(len(dice)) * 0.618034) % 1 - 0.5
    axes.plot(
        np.sort(dice), row + 0.5 * offset, "o", color=BLUE, markersize=5, markeredgewidth=0,
        alpha=0.55, clip_on=False, rasterized=len(dice) > MANY,
    )  # fmt: skip
    axes.vlines(np.median(dice), row - 0.36, row + 0.36, color=INK, linewidth=2.5)


def draw_learning_curves(history: pd.DataFrame, best_epoch: int) -> str:
    """Loss and Dice over the epochs of history.csv, with `best_epoch` marked."""
    with rc_context(STYLE):
        figure = Figure(figsize=(8.4, 3.3), layout="constrained")
        loss, dice = figure.subplots(1, 2)
        _curves(loss, history, "loss", best_epoch)
        _curves(dice, history, "dice", best_epoch)
        loss.set_ylabel("Loss (lower is better)")
        dice.set_ylabel("Dice (higher is better)")
        handles, labels = loss.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
        return _svg(figure)


def _curves(axes: Axes, history: pd.DataFrame, name: str, best_epoch: int) -> None:
    epochs = history["epoch"]
    axes.plot(epochs, history[name], "o-", color=BLUE, markersize=4, label="training")
    axes.plot(epochs, history[f"val_{name}"], "s--", color=ORANGE, markersize=4, label="validation")
    axes.axvline(best_epoch, color=INK, linestyle=":", label=f"best epoch ({best_epoch})")
    axes.set_xlabel("Epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid()


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
