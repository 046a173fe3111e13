"""What `tools/analyze.py` writes: pictures, and the numbers behind them as CSV and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import product
from typing import Any

from fvq_core.errors import UserError
from fvq_core.progress import Progress
from fvq_core.registry import plain

from ..analysis.codebook_size import size_lines
from ..analysis.toy import Toy, Trajectory, run_toy
from ..plots.codebook_size_plot import FINAL, plot_final_by_size, plot_loss_by_size
from ..plots.run_curves_plot import Panel, plot_runs, run_bands
from ..plots.toy_plot import plot_toy, plot_toy_curves
from ..runs.run import Run, final_mean, group_runs
from .output_files import make_folder, write_csv


def report_toy(toy: Toy, methods: Mapping[str, Mapping[str, Any]], seeds: Sequence[int], out: str) -> dict[str, Any]:
    """Run the toy; write `toy.png` (the first seed), `toy_curves.png`, `toy.csv` and `toy.json`.

    Returns:
        What `toy.json` holds: `toy`, `methods`, and `results`, one entry a method and seed.

    Raises:
        UserError: A seed is given twice, or a run diverged.
    """
    if len(set(seeds)) < len(seeds):
        raise UserError(f'toy: --seeds wants different numbers, got {list(seeds)}; a seed counts once.')
    runs: dict[str, list[Trajectory]] = {name: [] for name in methods}
    for name, seed in Progress.each(product(methods, seeds), 'toy', len(methods) * len(seeds), 'run'):
        runs[name].append(run_toy(toy, methods[name], seed))
    folder = make_folder(out)
    rows = {name: [run.rows() for run in trajectories] for name, trajectories in runs.items()}
    plot_toy({name: trajectories[0] for name, trajectories in runs.items()}, folder / 'toy.png')
    plot_toy_curves(rows, folder / 'toy_curves.png')
    labelled = [
        {'method': name, 'seed': seed, **row}
        for name, each in rows.items()
        for seed, of_seed in zip(seeds, each, strict=True)
        for row in of_seed
    ]
    write_csv(folder / 'toy.csv', labelled)
    results = [
        {'method': name, 'seed': seed, 'detour': run.detour(), 'start': of_seed[0], 'end': of_seed[-1]}
        for name in runs
        for seed, run, of_seed in zip(seeds, runs[name], rows[name], strict=True)
    ]
    document = {'toy': asdict(toy), 'methods': plain(methods), 'results': results}
    (folder / 'toy.json').write_text(json.dumps(document, indent=2) + '\n')
    return document


def report_curves(runs: Sequence[Run], panels: Sequence[Panel], name: str, out: str) -> list[str]:
    """Write `NAME.png` and `NAME.csv` of runs, one line a config; return the names of the lines."""
    groups = {label: [run.rows for run in group] for label, group in group_runs(runs).items()}
    bands = run_bands(groups, panels)
    if not bands:
        keys = ', '.join(panel.key for panel in panels)
        raise UserError(f'none of the {len(runs)} runs has logged any of {keys}; did they train with what logs it?')
    folder = make_folder(out)
    plot_runs(groups, panels, folder / f'{name}.png')
    table = [
        {'panel': panel.title, 'line': label, 'iter': x, 'mean': mean, 'low': low, 'high': high, 'runs': drawn.runs}
        for panel, found in bands.items()
        for label, drawn in found.items()
        for x, mean, low, high in zip(drawn.x, drawn.mean, drawn.low, drawn.high, strict=True)
    ]
    write_csv(folder / f'{name}.csv', table)
    return list(groups)


def report_sizes(runs: Sequence[Run], out: str) -> list[dict[str, Any]]:
    """Write `size_curves.png`, `size.png` and `size.csv`; return the rows of the table, one a run."""
    found = size_lines(runs)
    folder = make_folder(out)
    plot_loss_by_size(found, folder / 'size_curves.png')
    plot_final_by_size(found, folder / 'size.png')
    table = [
        {'line': line.name, 'codebook_size': size, 'run': str(run.path), 'seed': run.seed}
        | {title: final_mean(run, split, keys) for title, split, keys in FINAL}
        for line in found
        for size, group in line.runs.items()
        for run in group
    ]
    write_csv(folder / 'size.csv', table)
    return table
