#!/usr/bin/env python
"""Draw every seed of one table of docs/benchmark_runs.csv.

docs/plot_runs.py "900 photos, 100 others" docs/images/benchmark_seeds.png
"""

from __future__ import annotations

import argparse
import csv
import statistics
from pathlib import Path

from fvq_eval.plots.figure import save
from fvq_eval.plots.seeds_plot import draw_seeds

MEASURES = {'psnr': 'PSNR (dB)', 'feature_distance': 'features (smaller is better)', 'usage': 'usage (%)'}

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=(__doc__ or '').split('\n')[0])
    parser.add_argument('table', help='its name in the first column')
    parser.add_argument('path', type=Path, help='the PNG to write')
    args = parser.parse_args()
    rows: dict[str, dict[str, list[float]]] = {}
    with (Path(__file__).parent / 'benchmark_runs.csv').open(newline='') as file:
        for run in csv.DictReader(file):
            if run['table'] == args.table:
                values = rows.setdefault(run['row'], {key: [] for key in MEASURES})
                for key in MEASURES:
                    values[key] += [float(run[key])] if run[key] else []
    best_first = sorted(rows.items(), key=lambda item: -statistics.fmean(item[1]['psnr']))
    figure = draw_seeds(dict(best_first), MEASURES, black='fvq')
    if figure is None:
        parser.error(f"benchmark_runs.csv has no runs of a table '{args.table}'")
    save(figure, args.path)
