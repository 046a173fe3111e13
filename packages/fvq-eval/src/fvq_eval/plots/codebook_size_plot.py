"""Figure 7 of the paper: the VQ loss while training by codebook size, and what it ends at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib import colormaps

from ..analysis.codebook_size import VQ_TERMS, Line
from ..runs.run import Run, final_mean
from .bands import band, band_of, draw_band, lines
from .figure import new_figure, save
from .run_curves_plot import legend_below

FINAL = (
    ('final VQ loss', 'train', VQ_TERMS),
    ('final reconstruction loss', 'train', ('loss/reconstruction',)),
    ('final D(P_z, C) / var(z), evaluation set', 'eval', ('relative_quantization_error',)),
    ('final codebook usage, evaluation set (%)', 'eval', ('usage',)),
)


def vq_loss(run: Run) -> dict[float, float]:
    """The sum of codebook and commitment term, weighted as trained, by iteration."""
    rows = [row for row in run.rows if row['split'] == 'train' and any(term in row for term in VQ_TERMS)]
    return {row['iter']: sum(row.get(term, 0.0) for term in VQ_TERMS) for row in rows}


def plot_loss_by_size(found: Sequence[Line], path: Path) -> None:
    """The paper's figure: one pair of axes a projector, one curve a codebook size."""
    columns = min(3, len(found))
    rows = math.ceil(len(found) / columns)
    figure, axes = new_figure(4.4 * columns, 3.4 * rows, rows, columns)
    sizes = sorted({size for line in found for size in line.runs})
    for axis, line in zip(axes, found, strict=False):
        for size, runs in line.runs.items():
            color = colormaps['viridis'](0.9 * sizes.index(size) / max(1, len(sizes) - 1))
            draw_band(axis, band([vq_loss(run) for run in runs]), f'K = {size:,}', (color, '-'))
        axis.set(title=line.name, xlabel='iteration', ylabel='VQ loss', yscale='log')
        axis.legend(frameon=False, fontsize=8)
    for axis in axes[len(found) :]:
        axis.set_visible(False)
    save(figure, path)


def plot_final_by_size(found: Sequence[Line], path: Path) -> None:
    """What runs end at against their codebook size, one line a projector; a band goes from the lowest to the highest seed."""
    figure, axes = new_figure(9.5, 7.2 + 0.28 * math.ceil(len(found) / 4), 2, 2)
    chosen = lines([line.name for line in found])
    for axis, (title, split, keys) in zip(axes, FINAL, strict=True):
        for line in found:
            ends = {size: [final_mean(run, split, keys) for run in runs] for size, runs in line.runs.items()}
            known = {size: [end for end in values if end is not None] for size, values in ends.items()}
            draw_band(axis, band_of(known), line.name, chosen[line.name], marker='o')
        sizes = sorted({size for line in found for size in line.runs})
        axis.set_xscale('log', base=2)
        axis.set_xticks(sizes, [f'{size:,}' for size in sizes], fontsize=8)
        axis.minorticks_off()
        axis.set_title(title, fontsize=10)
        axis.set_xlabel('codebook size K')
        if keys == ('usage',):
            axis.set_ylim(-2, 103)
        elif axis.lines:
            axis.set_yscale('log')
    legend_below(figure, axes)
    save(figure, path)
