"""Figure 2's toy: where latents and codes go, method by method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes

from ..analysis.toy import Trajectory
from .bands import band, draw_band, lines
from .figure import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, new_figure, save
from .run_curves_plot import legend_below

SNAPSHOTS = (0.0, 0.05, 0.25, 1.0)  # shares of the run
PANEL_AREA = 8.0  # square inches
FOLLOWED = 3  # latents whose way is drawn: one of each Gaussian
CURVES = (
    ('codes chosen in the step (%)', 'usage', 'percent'),
    ('codes that have moved (%)', 'moved', 'percent'),
    ('D(P_z, C) = mean |δ|²', 'estimation_error', 'log'),
    ('task loss', 'task_loss', 'log'),
    ('one step behind (eq. 7 against 6)', 'one_step_behind', 'log'),
    ('center shift of a step (eq. 23)', 'center_shift', 'log'),
)


def plot_toy(runs: Mapping[str, Trajectory], path: Path) -> None:
    """Draw a row a method: four moments, then the ways of three latents, of their codes, and of every code."""
    clouds = [x.reshape(-1, 2) for run in runs.values() for x in (run.z_TN2, run.codebook_TK2, run.target_N2)]
    points = torch.cat(clouds)
    low, high = points.min(0).values - 0.3, points.max(0).values + 0.3
    width, height = (high - low).tolist()
    side = PANEL_AREA**0.5 * (height / width) ** 0.5  # of a panel, in inches: as large whatever its shape
    columns = len(SNAPSHOTS) + 1
    figure, axes = new_figure(columns * (PANEL_AREA / side + 0.45), len(runs) * (side + 0.5) + 0.4, len(runs), columns)
    for row, (name, run) in enumerate(runs.items()):
        own = axes[row * columns :][:columns]
        for axis, share in zip(own, SNAPSHOTS, strict=False):
            t = round(share * (len(run.z_TN2) - 1))
            draw_moment(axis, run, t)
            used = int(run.used(t).sum())
            axis.set_title(f'step {t}: {used} of {run.codebook_TK2.shape[1]} codes chosen', fontsize=9)
        draw_ways(own[-1], run)
        moved = int(run.moved(len(run.z_TN2) - 1).sum())
        title = f'{moved} of {run.codebook_TK2.shape[1]} codes moved; detour x{run.detour():.2f}'
        own[-1].set_title(title, fontsize=9)
        own[0].set_ylabel(name, fontsize=12)
        for axis in own:
            axis.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect='equal')
            axis.tick_params(labelsize=7)
    legend_below(figure, axes)
    save(figure, path)


def draw_moment(axis: Axes, run: Trajectory, t: int) -> None:
    """Latents, targets and codes of one step."""
    used_K = run.used(t)
    axis.scatter(*run.target_N2.T, s=7, color=GREEN, alpha=0.35, linewidths=0, label='targets')
    axis.scatter(*run.z_TN2[t].T, s=7, color=GREY, alpha=0.6, linewidths=0, label='latents z_e')
    axis.scatter(*run.codebook_TK2[t][~used_K].T, s=16, color=RED, alpha=0.8, linewidths=0, label='codes not chosen')
    axis.scatter(*run.codebook_TK2[t][used_K].T, s=22, color=BLUE, linewidths=0, label='codes chosen, z_q')


def draw_ways(axis: Axes, run: Trajectory) -> None:
    """The way of every code, and over it those of a few latents and of the codes that they choose."""
    moved_K = run.moved(len(run.z_TN2) - 1)
    for number, way in enumerate(run.codebook_TK2[:, moved_K].unbind(1)):
        axis.plot(*way.T, color=BLUE, linewidth=0.6, alpha=0.5, label='' if number else 'way of a code')
    axis.scatter(*run.codebook_TK2[-1][moved_K].T, s=8, color=BLUE, linewidths=0)
    axis.scatter(*run.target_N2.T, s=7, color=GREEN, alpha=0.35, linewidths=0)
    still_U2 = run.codebook_TK2[-1][~moved_K]
    axis.scatter(*still_U2.T, s=14, color=RED, marker='x', linewidths=0.8, label='codes that never moved')
    z_q_TN2 = torch.stack([run.z_q(t)[:FOLLOWED] for t in range(len(run.z_TN2))])
    for number in range(min(FOLLOWED, run.z_TN2.shape[1])):
        named = not number
        axis.plot(*z_q_TN2[:, number].T, ':', color=PURPLE, linewidth=1.5, label='way of its z_q' if named else '')
        axis.plot(*run.z_TN2[:, number].T, color=ORANGE, linewidth=1.8, label='way of a z_e' if named else '')
        axis.plot(*run.z_TN2[0, number], 'o', color=ORANGE, markersize=4)


def plot_toy_curves(rows: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]], path: Path) -> None:
    """Draw the numbers over the steps, a line a method, from `Trajectory.rows` of each seed of each method."""
    figure, axes = new_figure(11.5, 6.4, 2, 3)
    chosen = lines(list(rows))
    for axis, (title, key, kind) in zip(axes, CURVES, strict=True):
        for name, seeds in rows.items():
            drawn = band([{row['step']: row[key] for row in run if key in row} for run in seeds])
            draw_band(axis, drawn, f'{name} ({len(seeds)} seeds)' if len(seeds) > 1 else name, chosen[name])
        axis.set_title(title, fontsize=10)
        axis.set_xlabel('step')
        if kind == 'percent':
            axis.set_ylim(-2, 103)
        else:
            axis.set_yscale('log')
    legend_below(figure, axes)
    save(figure, path)
