"""Curves over steps: usage, loss and D(P_z, C), the mean over seeds and the band between the extremes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fvq_core.training.hooks.history import HISTORY_NAME, History

from ..plots.run_curves_plot import Panel, Rows, plot_runs, run_bands
from .summary import RowSummary

PER_FIGURE = 7
PANELS = (
    Panel('usage of the training window (%)', 'train', 'usage_window', kind='percent'),
    Panel('reconstruction loss, training', 'train', 'loss/reconstruction', kind='log'),
    Panel('D(P_z, C)/var(z), training batch', 'latents', 'relative_quantization_error_batch', kind='log'),
)


def histories(summary: RowSummary) -> list[Rows]:
    """What each of a row's runs logged."""
    return [History(run.folder / HISTORY_NAME).rows() for run in summary.runs]


def plot_all(summaries: Sequence[RowSummary], folder: Path) -> list[tuple[Path, str]]:
    """One figure for every few rows of one reference, in the order of the table; older ones of the folder are replaced.

    Returns:
        Each figure, and the name of its reference, which is drawn in black.
    """
    for old in folder.glob('curves_*.png'):
        old.unlink()
    finished = {summary.row.name: summary for summary in summaries if summary.runs}
    compared: dict[str, list[str]] = {}
    for name, summary in finished.items():
        compared.setdefault(summary.reference or name, []).append(name)
    figures: list[tuple[Path, str]] = []
    for reference, names in compared.items():
        others = [name for name in names if name != reference] or names
        for start in range(0, len(others), PER_FIGURE):
            shown = dict.fromkeys([reference, *others[start : start + PER_FIGURE]])
            groups = {name: histories(finished[name]) for name in shown if name in finished}
            if run_bands(groups, PANELS):
                figures.append((folder / f'curves_{len(figures) + 1}.png', reference))
                plot_runs(groups, PANELS, figures[-1][0], black=reference)
    return figures
