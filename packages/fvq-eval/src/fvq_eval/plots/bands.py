"""Several runs of one thing as one curve: their mean, and a band from the lowest to the highest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice, product
from typing import Any

from matplotlib.axes import Axes

from .figure import BLUE, BROWN, GREEN, GREY, ORANGE, PINK, PURPLE, RED

LINES = tuple((color, style) for style, color in product(('-', '--', ':'), (BLUE, ORANGE, GREEN, RED, PURPLE, BROWN)))
LINES += ((PINK, '-'), (GREY, '-'))


@dataclass(frozen=True)
class Band:
    """Mean, lowest and highest value at each x.

    Attributes:
        runs: Number of runs at the x that has most.
    """

    x: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]
    runs: int


def band(runs: Sequence[Mapping[float, float]]) -> Band:
    """The band of runs, each with its values by x; runs without any value do not count."""
    runs = [run for run in runs if run]
    common = set.intersection(*(set(run) for run in runs)) if runs else set()
    return band_of({x: [run[x] for run in runs] for x in common})


def band_of(columns: Mapping[Any, Sequence[float]]) -> Band:
    """The band of any number of values at each x; an x without a value is left out."""
    x = sorted(at for at, values in columns.items() if values)
    mean = [sum(columns[at]) / len(columns[at]) for at in x]
    low, high = ([extreme(columns[at]) for at in x] for extreme in (min, max))
    return Band(x, mean, low, high, max((len(columns[at]) for at in x), default=0))


def lines(names: Sequence[str]) -> dict[str, tuple[Any, Any]]:
    """A colour and a line style for each name, distinct for the first twenty."""
    return dict(zip(names, islice(cycle(LINES), len(names)), strict=True))


def draw_band(axis: Axes, drawn: Band, label: str, line: tuple[Any, Any], marker: str = '') -> None:
    """Draw one curve with its band; nothing if it has no value."""
    if not drawn.x:
        return
    color, style = line
    axis.plot(
        drawn.x, drawn.mean, color=color, linestyle=style, label=label, linewidth=1.5, marker=marker, markersize=3.5
    )
    if drawn.runs > 1:
        axis.fill_between(drawn.x, drawn.low, drawn.high, color=color, alpha=0.18, linewidth=0)
