"""Curves of many runs over their iterations, one line a config (figure 3 of the paper)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .bands import Band, band, draw_band, lines
from .figure import new_figure, save

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: What is drawn, with its unit.
        split: Rows that count: `train`, `eval` or `probe`.
        key: Key of the value in a row.
        over: Key of a value in the same row that it is divided by.
        kind: `'percent'` (0 to 100), `'log'`, `'share'` (up to 1) or `'plain'` (from 0 on).
    """

    title: str
    split: str
    key: str
    over: str | None = None
    kind: str = 'plain'

    def values(self, rows: Rows) -> dict[float, float]:
        """The finite values of a run by iteration."""
        found = {}
        for row in rows:
            if row['split'] == self.split and self.key in row and (self.over is None or row.get(self.over)):
                value = row[self.key] / (1.0 if self.over is None else row[self.over])
                if math.isfinite(value):
                    found[row['iter']] = value
        return found


USAGE = (
    Panel('codebook usage, evaluation set (%)', 'eval', 'usage', kind='percent'),
    Panel('codebook usage, training window (%)', 'train', 'usage_window', kind='percent'),
    Panel('training loss', 'train', 'loss', kind='log'),
    Panel('D(P_z, C) / var(z), evaluation set', 'eval', 'relative_quantization_error', kind='log'),
)
PROBE = (
    Panel('estimation error |δ|² / var(z)', 'probe', 'relative_estimation_error', kind='log'),
    Panel('gradient bias |g_q - g_e| / |g_e|', 'probe', 'gradient_bias', kind='log'),
    Panel('cosine of g_q and g_e', 'probe', 'gradient_cosine', kind='share'),
    Panel('one step behind (eq. 7 against 6)', 'probe', 'one_step_behind', kind='log'),
    Panel('center shift / std(z) (eq. 23)', 'probe', 'center_shift', over='latent_std', kind='log'),
    Panel('codebook update / std(z) (eq. 24)', 'probe', 'codebook_update', over='latent_std', kind='log'),
    Panel('cluster switching / std(z) (eq. 24)', 'probe', 'cluster_switching', over='latent_std', kind='log'),
    Panel('codes that switched in the step (%)', 'probe', 'switched', kind='percent'),
)


def run_bands(groups: Mapping[str, Sequence[Rows]], panels: Sequence[Panel]) -> dict[Panel, dict[str, Band]]:
    """The band of every group in every panel that any run has values for."""
    bands = {
        panel: {name: band([panel.values(rows) for rows in runs]) for name, runs in groups.items()} for panel in panels
    }
    return {panel: found for panel, found in bands.items() if any(each.x for each in found.values())}


def plot_runs(
    groups: Mapping[str, Sequence[Rows]], panels: Sequence[Panel], path: Path, black: str | None = None
) -> None:
    """Draw one line a group, its mean over runs, with a band from the lowest to the highest run.

    Args:
        groups: Rows of `history.jsonl` of each run of a group, by the group's name.
        panels: What to draw; one that no run has values for is left out.
        black: The group to draw in black, that the others are compared with.
    """
    bands = run_bands(groups, panels)
    columns = 4 if len(bands) > 4 else 3 if len(bands) == 3 else 2
    height = 3.1 * math.ceil(len(bands) / columns) + 0.28 * math.ceil(len(groups) / 4) + 0.2
    figure, axes = new_figure(4.0 * columns + 1.5, height, math.ceil(len(bands) / columns), columns)
    chosen = lines([name for name in groups if name != black]) | {black: ('black', '-')}
    for axis, (panel, found) in zip(axes, bands.items(), strict=False):
        for name, drawn in found.items():
            label = f'{name} ({len(groups[name])} runs)' if len(groups[name]) > 1 else name
            draw_band(axis, drawn, label, chosen[name], marker='.' if len(drawn.x) <= 30 else '')
        scale(axis, panel, found)
    for axis in axes[len(bands) :]:
        axis.set_visible(False)
    legend_below(figure, axes)
    save(figure, path)


def scale(axis: Axes, panel: Panel, found: Mapping[str, Band]) -> None:
    """Set title and axes of a panel; a log scale only if every value is above 0."""
    axis.set_title(panel.title, fontsize=10)
    axis.set_xlabel('iteration')
    lowest = min(min(each.low) for each in found.values() if each.x)
    if panel.kind == 'percent':
        axis.set_ylim(-2, 103)
    elif panel.kind == 'share':
        axis.set_ylim(min(0.0, lowest) - 0.03, 1.03)
    elif panel.kind == 'log' and lowest > 0:
        axis.set_yscale('log')
    elif lowest >= 0:
        axis.set_ylim(0, None)


def legend_below(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend for all axes, below them: each label once, at most four in a row."""
    found = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    longest = max(map(len, found), default=0)
    columns = max(1, min(len(found), 4, int(15 * figure.get_figwidth() / (longest + 6))))
    style = dict(frameon=False, fontsize=9, markerscale=1.8)
    figure.legend(found.values(), found.keys(), loc='outside lower center', ncols=columns, **style)
