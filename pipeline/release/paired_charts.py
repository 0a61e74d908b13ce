"""The charts of a comparison, as SVG text that is the same for the same numbers."""

from __future__ import annotations

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.evaluation.per_image import FAILURE
from pipeline.pictures.charts import BLUE, INK, MANY, ORANGE, STYLE, class_label, to_svg
from pipeline.release.paired_scores import PairedScores, ScoreChange


def draw_paired_dice(paired: PairedScores) -> str:
    """A mark per radiograph: Dice of A across, of B upwards; on the line both are the same."""
    before, after = (table["dice"].to_numpy() for table in (paired.before, paired.after))
    lowest = float(np.nanmin([before, after, np.full(len(after), 0.99)]))
    low = lowest - 0.04 * (1 - lowest)
    better, crowded = after >= before, len(after) > MANY
    with rc_context(STYLE):
        figure = Figure(figsize=(5.4, 5.2), layout="constrained")
        axes = figure.subplots()
        axes.plot([low, 1], [low, 1], color=INK, linewidth=1)
        for edge in [FAILURE] if low < FAILURE else []:
            axes.axvline(edge, color=INK, linestyle=":", linewidth=1)
            axes.axhline(edge, color=INK, linestyle=":", linewidth=1)
        for chosen, form, colour, label in (
            (better, "o", BLUE, "B better or the same"),
            (~better, "s", ORANGE, "B worse"),
        ):
            axes.plot(
                before[chosen],
                after[chosen],
                form,
                color=colour,
                alpha=0.6,
                clip_on=False,
                rasterized=crowded,
                label=f"{label} ({int(chosen.sum())})",
            )
        axes.set(xlim=(low, 1), ylim=(low, 1), aspect="equal")
        axes.set_xlabel("Dice of A")
        axes.set_ylabel("Dice of B")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(6))
        figure.legend(loc="outside upper center", ncols=2, frameon=False, columnspacing=1.2)
        return to_svg(figure)


def draw_differences(changes: list[ScoreChange]) -> str:
    """A row per change: the difference B - A and its interval, against a line at zero."""
    with rc_context(STYLE):
        figure = Figure(figsize=(5.8, 0.9 + 0.42 * len(changes)), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0, color=INK, linewidth=1)
        for row, change in enumerate(changes):
            if change.interval:
                axes.hlines(row, *change.interval, color=BLUE, linewidth=2)
                axes.plot(change.interval, [row, row], "|", color=BLUE, markeredgewidth=2, ms=9)
            form = "D" if change.kind == "all" else "o"
            axes.plot(change.difference, row, form, color=BLUE, markersize=7)
        names = [f"{class_label(change.part)} (n = {change.cases})" for change in changes]
        axes.set_yticks(range(len(changes)), names)
        axes.set_ylim(len(changes) - 0.5, -0.5)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.margins(x=0.08)
        axes.set_xlabel("Difference of the mean Dice, B − A")
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        return to_svg(figure)
