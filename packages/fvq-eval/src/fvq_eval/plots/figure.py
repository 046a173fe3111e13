"""Figures without a display or global state, in one style."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, GREY = '#3b6fb6', '#e08a3c', '#4f9d69', '#c0504d', '#8a8a8a'
PURPLE, BROWN, PINK = '#8064a2', '#7d5a3c', '#d679b0'


def new_figure(width: float, height: float, rows: int, columns: int) -> tuple[Figure, list[Axes]]:
    """A figure of `rows` x `columns` axes, without spines at the top and right."""
    figure = Figure(figsize=(width, height), layout='constrained')
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes:
        axis.spines[['top', 'right']].set_visible(False)
        axis.grid(alpha=0.25, linewidth=0.6)
    return figure, axes


def save(figure: Figure, path: Path) -> None:
    """Write as PNG."""
    figure.savefig(path, dpi=110)
