"""What each row of a comparison ends at: a dot for every seed, so that rows can be told from seeds at a glance."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from .figure import BLUE, new_figure

ROW_INCHES = 0.27


def draw_seeds(
    rows: Mapping[str, Mapping[str, Sequence[float]]], measures: Mapping[str, str], black: str | None = None
) -> Figure | None:
    """One pair of axes a measure, one line a row: each seed a dot, their mean a tick.

    Args:
        rows: For each row, top to bottom, the values of its seeds by measure.
        measures: Titles by key, left to right; one without values is left out.
        black: The row that is drawn in black.

    Returns:
        The figure; None if there is nothing to draw.
    """
    present = {key: title for key, title in measures.items() if any(values.get(key) for values in rows.values())}
    if not present:
        return None
    names = list(rows)
    figure, axes = new_figure(2.2 + 2.6 * len(present), 0.8 + ROW_INCHES * len(names), 1, len(present))
    for axis, (key, title) in zip(axes, present.items(), strict=True):
        for line, name in enumerate(names):
            values = rows[name].get(key) or []
            color = 'black' if name == black else BLUE
            axis.plot(values, [line] * len(values), 'o', color=color, markersize=4, alpha=0.6, markeredgewidth=0)
            if values:
                axis.plot([statistics.fmean(values)], [line], '|', color=color, markersize=11)
        axis.set_title(title, fontsize=10)
        axis.set_yticks(range(len(names)), names if axis is axes[0] else [''] * len(names), fontsize=9)
        axis.set_ylim(len(names) - 0.4, -0.6)
    return figure
