"""Curves of a run: loss, usage, perplexity, learning rate."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from .figure import BLUE, BROWN, GREEN, GREY, ORANGE, PINK, PURPLE, RED, new_figure, save

TERM_COLORS = (ORANGE, GREEN, RED, PURPLE, BROWN, PINK, GREY)


def plot_curves(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the rows of splits `train` and `eval` of a `history.jsonl`."""
    train = [row for row in rows if row['split'] == 'train']
    evaluation = [row for row in rows if row['split'] == 'eval']
    figure, (loss, usage, perplexity, lr) = new_figure(10, 6.2, 2, 2)

    terms = sorted({key for row in train for key in row if key.startswith('loss/')})
    draw(loss, train, 'loss', 'total', BLUE)
    for term, color in zip(terms, cycle(TERM_COLORS), strict=False):
        draw(loss, train, term, term.removeprefix('loss/'), color)
    if all(row.get(term, 1) > 0 for row in train for term in ('loss', *terms)):
        loss.set_yscale('log')
    else:  # a hinge generator's loss may have either sign
        loss.set_yscale('symlog', linthresh=1e-3)
    draw(loss, evaluation, 'val_loss', 'validation', RED, marker='o')
    loss.set(title='loss')

    draw(usage, train, 'usage_window', 'training window', GREY)
    draw(usage, evaluation, 'usage', 'evaluation set', BLUE, marker='o')
    usage.set(title='codebook usage (%)', ylim=(0, 103))

    draw(perplexity, train, 'perplexity_window', 'training window', GREY)
    draw(perplexity, evaluation, 'perplexity', 'evaluation set', BLUE, marker='o')
    perplexity.set(title='perplexity (codes)', ylim=(0, None))

    draw(lr, train, 'lr', 'learning rate', BLUE)
    lr.set(title='learning rate', ylim=(0, None))

    for axis in (loss, usage, perplexity, lr):
        axis.set_xlabel('iteration')
        if axis.get_legend_handles_labels()[0]:
            axis.legend(frameon=False, fontsize=8)
    save(figure, path)


def draw(axis: Axes, rows: list[dict[str, Any]], key: str, label: str, color: str, marker: str = '') -> None:
    """One curve, if the rows have the key."""
    points = [(row['iter'], row[key]) for row in rows if key in row]
    if points:
        axis.plot(*zip(*points, strict=True), color=color, label=label, linewidth=1.4, marker=marker, markersize=3.5)
